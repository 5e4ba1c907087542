"""Progress of long contracts: a line on a real terminal that leaves no trace, and a log."""

import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from pytest_aerobust.choice import chosen
from pytest_aerobust.evaluation import Measurement, Need, measure
from pytest_aerobust.subjects.subject import build_subject

# Each chunk takes the better part of a second: the line shows after one.
SLOW = """
    import time

    class Slow(Border):
        def forward(self, x):
            time.sleep(0.07 if x.requires_grad else 0)
            return super().forward(x)

    @pytest.fixture(scope="session")
    def aerobust_model():
        return Slow()

    @pytest.fixture(scope="session")
    def aerobust_data():
        return samples(80)
"""

TESTS = """
    from pytest_aerobust.checks import CHECKS

    @robust("bim", 0.02, min_acc=0.9, waive=dict.fromkeys(CHECKS, "the run alone is slow"))
    def test_slow():
        print("hello from the test")

    def test_plain():
        pass

    @robust("bim", 0.3, min_acc=0.9)
    def test_fails():
        pass
"""


@pytest.fixture
def slow(suite):
    suite.conftest(SLOW)
    suite.tests(TESTS)
    return suite


def in_terminal(folder, *options, columns=90):
    """What pytest writes to a terminal of its own, byte by byte."""
    ours, theirs = pty.openpty()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
    plugins = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-m", "pytest", "-p", "pytest_aerobust.plugin", "--aerobust"]
    process = subprocess.Popen(
        [*command, "--color=no", *options],
        cwd=folder,
        env={**clean, **plugins, "OMP_NUM_THREADS": "1"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    found, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        readable, _, _ = select.select([ours], [], [], 0.2)
        try:
            part = os.read(ours, 65536) if readable else b""
        except OSError:  # Linux says so when the other end is closed
            break
        found += part
        if not part and process.poll() is not None:
            break
    process.wait(timeout=10)
    os.close(ours)
    return found.decode().replace("\r\n", "\n\r")


def screen(stream):
    """What is to be seen in the end, as a terminal shows it."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[\d*[A-Za-z]|.|\n|\r", stream, flags=re.DOTALL):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token == "\x1b[K":
            lines[row] = lines[row][:column]
        elif token == "\x1b[A":
            row -= 1
        elif re.fullmatch(r"\x1b\[\d+G", token):
            column = int(token[2:-1]) - 1
        elif not token.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + 1 :]
            column += 1
    return "\n".join(line.rstrip() for line in lines).strip()


def without_times(text):
    text = re.sub(r"\d+\.\d+s|\s+\d+\.\d$|=+", "", text, flags=re.MULTILINE)
    return text.replace("collecting ... ", "")


@pytest.mark.parametrize("options", [(), ("-v",)])
def test_a_line_comes_and_goes(slow, options, own_process):
    """It holds contract, budget and numbers, and the screen in the end is as without it."""
    stream = in_terminal(slow.path, *options)
    shown = re.findall(r"[\n\r]([^\n\r]*samples decided[^\n\r]*?)\x1b\[K", stream)
    assert len(shown) > 1
    assert all(line.startswith("test_slow[bim-eps0.02]: BIM Linf eps=0.02, ") for line in shown)
    assert all(len(line) < 90 for line in shown)
    decided = [int(re.search(r"(\d+) of 800", line)[1]) for line in shown]
    assert decided == sorted(set(decided))
    seen = screen(stream)
    assert "samples decided" not in seen
    assert "hello from the test" not in stream
    if options:
        plain = own_process(slow.path, "--aerobust", "--color=no", *options, COLUMNS="90").stdout
        assert "samples decided" not in plain
        assert without_times(seen) == without_times(screen(plain.replace("\n", "\n\r")))


@pytest.mark.parametrize("options", [("-q",), ("-s",), ("-p", "xdist", "-n", "2")])
def test_no_line_where_it_would_be_in_the_way(slow, options):
    """Under -q, beside the test's own output, and where workers measure."""
    assert "samples decided" not in in_terminal(slow.path, *options, "-k", "slow")


def test_elsewhere_there_is_a_log(slow, own_process):
    """Without a terminal one record for each chunk, shown where INFO is asked for."""
    logged = own_process(slow.path, "--aerobust", "--log-cli-level=INFO", "-k", "test_slow").stdout
    records = re.findall(r"INFO +pytest_aerobust:.*test_slow\[bim-eps0.02\]: (.*)", logged)
    assert len(records) > 2
    assert records[0].startswith("BIM Linf eps=0.02, 0 of 800 samples decided, 0 stand")
    assert records[-1].endswith("800 of 800 samples decided, 800 stand")


class Border(nn.Module):
    def forward(self, x):
        z = (x - 0.5).sum(dim=1)
        return torch.stack([-z, z], dim=1)


@pytest.mark.parametrize("stop", [0.5, 2.0])
def test_the_engine_tells_how_far_it_is(stop):
    """Decided samples never get fewer; the last word comes once, with what is known then."""
    inputs = torch.rand(700, 3, generator=torch.Generator().manual_seed(0))
    labels = Border()(inputs).argmax(dim=1)
    told = []

    def need(evaluation):
        arm = evaluation.unfiltered
        return Need.NOTHING if arm.pending < (1 - stop) * arm.samples else Need.ATTACK

    found = measure(
        build_subject(Border(), (inputs, labels)),
        Measurement(chosen("bim", None, None, None), 0.1, "white-box"),
        need=need,
        on_progress=told.append,
    )
    decided = [each.decided for each in told]
    assert decided == sorted(decided)
    assert decided[0] == 0
    assert [each.finished for each in told] == [False] * (len(told) - 1) + [True]
    assert told[-1].survivors == found.unfiltered.survivors
    assert told[-1].decided == 700 - found.unfiltered.pending
    assert (told[-1].decided == 700) == (stop > 1)


def test_the_line_is_cleared_when_a_model_breaks(suite):
    """An error in the middle of a measurement leaves no half line behind."""
    suite.conftest(
        SLOW
        + """
    class Breaking(Slow):
        asked = 0

        def forward(self, x):
            Breaking.asked += x.requires_grad
            if Breaking.asked > 25:
                raise RuntimeError("out of memory")
            return super().forward(x)

    @pytest.fixture(scope="session")
    def aerobust_model():
        return Breaking()
    """
    )
    suite.tests(TESTS)
    stream = in_terminal(suite.path, "-k", "test_slow")
    assert "samples decided" in stream
    assert "samples decided" not in screen(stream)
    assert "out of memory" in screen(stream)
