"""Processes killed at random moments: no wrong verdict, no lost entry, nothing half written.

Run as ``pytest -m slow tests/plugin/test_faults.py``.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from textwrap import dedent

import pytest

from pytest_aerobust.history.baseline.entries import read_baseline, update_baseline

pytestmark = pytest.mark.slow

# Of the controller, and as many of a worker.
KILLS = 30
SUITE = """
    from pytest_aerobust import robust

    @robust("bim", [0.06, 0.1, 0.16, 0.2, 0.26, 0.3], max_regression=0.0, data="many")
    def test_it():
        pass
"""
# Of the samples, those that are farther from the border than the budget.
STANDING = {"0.06": 0.8, "0.1": 0.8, "0.16": 0.6, "0.2": 0.6, "0.26": 0.4, "0.3": 0.4}
OTHERS = {"test_other.py::test_a", "test_other.py::test_b"}
BASELINE = "aerobust-baseline.json"


@pytest.fixture
def folder(tmp_path, small_conftest):
    """A suite whose baseline holds entries of tests that these runs never see."""
    (tmp_path / "conftest.py").write_text(small_conftest)
    (tmp_path / "test_suite.py").write_text(dedent(SUITE))
    (tmp_path / "memory").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\naerobust_memory = memory\n")
    run = started(tmp_path, "-k", "eps0.06")
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0, out
    (entry,) = read_baseline(tmp_path / BASELINE).values()
    update_baseline(tmp_path / BASELINE, dict.fromkeys(OTHERS, entry))
    return tmp_path


def started(folder, *options):
    """A run that updates the baseline, as the leader of a group of processes."""
    command = [sys.executable, "-m", "pytest", "-p", "pytest_aerobust.plugin", "-p", "xdist"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
    told = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"}
    return subprocess.Popen(
        [*command, "--aerobust", "--aerobust-update", "-v", *options],
        cwd=folder,
        env=clean | told,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def children(pid):
    """Processes of one parent: xdist's workers."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in listed.stdout.split()]


def check(folder):
    """What lies there is whole and true, whoever was killed."""
    entries = read_baseline(folder / BASELINE)
    assert entries.keys() >= OTHERS
    for test, entry in entries.items():
        if test not in OTHERS:
            eps = test.partition("eps")[2].split("-")[0]
            assert entry.accuracy["unfiltered"] == STANDING[eps]
            assert sum(entry.survivors) == STANDING[eps] * entry.samples


@pytest.mark.parametrize("victim", ["controller", "worker"])
def test_kills_at_random_moments(folder, victim):
    """After each kill the files are whole, and a run to the end is as if nothing had happened."""
    chance = random.Random(victim)
    for _ in range(KILLS):
        run = started(folder, "-n", "2")
        wanted = chance.randrange(6, 16)  # lines until the kill: from collection to the summary
        for number, _line in enumerate(run.stdout):
            if number >= wanted:
                break
        time.sleep(chance.random() * 0.1)
        pids = children(run.pid) if victim == "worker" else [run.pid]
        if pids and run.poll() is None:
            os.kill(chance.choice(pids), signal.SIGKILL)
        out = run.stdout.read()
        run.wait(timeout=120)
        if victim == "worker" and run.returncode:
            assert "crashed while running" in out or "node down" in out or "failed" in out
        check(folder)
    run = started(folder)
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0, out
    assert "6 passed" in out
    check(folder)
    assert len(read_baseline(folder / BASELINE)) == 2 + len(STANDING)


def test_two_runs_at_once(folder):
    """Two runs on one folder both end well, and each one's entries are there."""
    first = started(folder, "-k", "eps0.1 or eps0.2")
    second = started(folder, "-k", "eps0.3 or eps0.06")
    for run in (first, second):
        out, _ = run.communicate(timeout=120)
        assert run.returncode == 0, out
    check(folder)
    names = json.loads((folder / BASELINE).read_text())["contracts"]
    assert len(names) == 2 + len(STANDING)
