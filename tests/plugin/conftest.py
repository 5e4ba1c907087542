"""A small suite to drive the plugin from outside: a model whose answers are known exactly."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import strategies as st
from torch import nn

# Inner runs share this process, and pytester forgets each module that an inner run imported
# first. What can't be imported twice, or slowly, is therefore imported and used once out here.
from pytest_aerobust import evaluate
from pytest_aerobust.proving.drawing import Draws, drawn_budgets

CONFTEST = '''
import pytest
import torch
from torch import nn


class Border(nn.Module):
    """Logits [-z, z], z the sum of x - 0.5: a sample flips at its distance from 0.5 (Linf)."""

    def __init__(self, scale=1.0, shift=0.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.shift = shift

    def forward(self, x):
        z = self.scale * (x - 0.5 + self.shift).sum(dim=1)
        return torch.stack([-z, z], dim=1)


class Blind(Border):
    def forward(self, x):
        logits = super().forward(x)
        return logits.detach() + 0 * logits


def samples(copies=1):
    """Inputs (10 * copies, 4) and labels; robust accuracy is the share with a larger distance."""
    distances = torch.tensor([0.05, 0.15, 0.25, 0.35, 0.45]).repeat(copies)
    distances = torch.cat([-distances, distances])
    return 0.5 + distances[:, None].expand(-1, 4), (distances > 0).long()


@pytest.fixture(scope="session")
def aerobust_model():
    return Border()


@pytest.fixture(scope="session")
def aerobust_data():
    return samples()


@pytest.fixture(scope="session")
def many():
    """400 samples, so that a verdict can be certain before all are attacked; no two are alike."""
    inputs, labels = samples(40)
    apart = torch.linspace(0, 0.02, 400)[:, None] * torch.tensor([1.0, -1.0, 0.0, 0.0])
    return inputs + apart, labels


@pytest.fixture(scope="session")
def saturated():
    """Logits without a gradient, by cross entropy or margin: an attack can't move anything."""
    return Blind()


@pytest.fixture(scope="session")
def broken():
    """A model that refuses its inputs."""
    return nn.Linear(7, 2)


@pytest.fixture(scope="session")
def identity():
    return nn.Identity()
'''

HEAD = "import pytest\nfrom pytest_aerobust import *\n\n\n"


class Suite:
    """A folder with the conftest above, run inside this process unless told otherwise."""

    def __init__(self, pytester: pytest.Pytester):
        self._pytester = pytester
        self.path = pytester.path
        self.conftest("")

    def conftest(self, more: str, base: str = CONFTEST):
        """Add fixtures to the conftest, or replace it with another base."""
        self.write("conftest.py", base + "\n\n" + dedent(more))

    def tests(self, code: str, name: str = "test_suite.py"):
        """Write a test file; pytest and the plugin's public names are imported on top."""
        self.write(name, HEAD + dedent(code))

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *args: str) -> pytest.RunResult:
        """Run with --aerobust."""
        return self.plain_run("--aerobust", *args)

    def plain_run(self, *args: str) -> pytest.RunResult:
        # pytest-randomly, where it is installed, would shuffle the tests and reseed every draw.
        return self._pytester.runpytest_inprocess("-p", "no:randomly", *args)

    def ids(self, result: pytest.RunResult) -> list[str]:
        """Names of the items whose call phase ran, sorted."""
        reports = self.reports(result)
        return sorted({r.nodeid.split("::", 1)[1] for r in reports if r.when == "call"})

    def collected(self, *args: str) -> list[str]:
        """Names of the items that a run would have, sorted."""
        result = self.plain_run("--collect-only", "-q", *args)
        assert result.ret == 0, result.stdout.str()
        return sorted(line.split("::", 1)[1] for line in result.outlines if "::" in line)

    def reports(self, result: pytest.RunResult) -> list[pytest.TestReport]:
        return result.reprec.getreports("pytest_runtest_logreport")

    def failure(self, result: pytest.RunResult) -> str:
        """What the one failing report says."""
        (text,) = [r.longreprtext for r in self.reports(result) if r.failed]
        return text

    def measured(self, result: pytest.RunResult) -> dict[str, dict[str, Any]]:
        """The properties of every contract that was checked, by the item's name."""
        return {
            report.nodeid.split("::", 1)[1]: {
                name.removeprefix("aerobust_"): value
                for name, value in report.user_properties
                if name.startswith("aerobust_")
            }
            for report in self.reports(result)
            if report.when == "call"
        }


@pytest.fixture(scope="session", autouse=True)
def _warm():
    """Loads what torch, Foolbox and Hypothesis load lazily, before an inner run does."""
    inputs, labels = torch.tensor([[0.2, 0.2], [0.8, 0.8]]), torch.tensor([0, 1])
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, 1.0]]))
    evaluate(model, (inputs - 0.5, labels), attack="bim", eps=0.1, bounds=(-1, 1))
    drawn_budgets(st.floats(0, 1), Draws(seed=0))


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """An empty suite with the small model; its lines are wide enough for a whole summary."""
    monkeypatch.setenv("COLUMNS", "200")
    return Suite(pytester)


@pytest.fixture(scope="session")
def own_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs pytest in a process of its own, in a folder, with this plugin and no other.

    Other plugins import what they like, NumPy for one; whoever wants them says so by `env`.
    """

    def run(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
        alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "pytest_aerobust.plugin", *args],
            cwd=folder,
            env={**clean, **alone, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def small_conftest() -> str:
    """The text of the small suite's conftest, for runs in a process of their own."""
    return CONFTEST


@pytest.fixture(scope="session")
def junit_properties() -> Callable[[Path], dict[str, dict[str, str]]]:
    """Reads the aerobust properties of every case of a JUnit XML file, by the case's name."""

    def read(path: Path) -> dict[str, dict[str, str]]:
        return {
            case.attrib["name"]: {
                p.attrib["name"].removeprefix("aerobust_"): p.attrib["value"]
                for p in case.iter("property")
                if p.attrib["name"].startswith("aerobust_")
            }
            for case in ElementTree.parse(path).iter("testcase")
        }

    return read
