"""Progress of long contracts: a line on a real terminal that leaves no trace, and a log."""

import fcntl
import logging
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from textwrap import dedent

import pytest
import torch
from torch import nn

from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement, Progress
from pytest_aerobust.reports.progress import Line, Log, watching
from pytest_aerobust.subjects.subject import build_subject
from pytest_aerobust.verdict.need import Need

# On a terminal each chunk takes the better part of a second: the line shows after one.
SLOW = """
    import logging, os, time

    class Slow(Border):
        def forward(self, x):
            if x.requires_grad:
                print("said by the model")
                logging.getLogger("model").info("noted by the model")
                time.sleep(float(os.environ.get("SECONDS_A_STEP", 0)))
            return super().forward(x)

    @pytest.fixture(scope="session")
    def aerobust_model():
        return Slow()

    class Breaking(Slow):
        asked = 0

        def forward(self, x):
            Breaking.asked += x.requires_grad
            if Breaking.asked > 25:
                raise RuntimeError("out of memory")
            return super().forward(x)

    @pytest.fixture(scope="session")
    def breaking():
        return Breaking()

    @pytest.fixture(scope="session")
    def aerobust_data():
        return samples(64)
"""

LONG = "test_" + "ö" * 99
TESTS = f"""
    from pytest_aerobust.contract.waivers import CHECKS

    # No contract's evidence is wanted: the run alone is slow.
    slow = robust("bim", 0.02, min_acc=0.9, waive=dict.fromkeys(CHECKS, "slow"))

    @slow
    def test_slow():
        pass

    def test_plain():
        pass

    @slow
    def {LONG}():
        pass

    @robust("bim", 0.02, min_acc=0.9, model="breaking")
    def test_breaks():
        pass

    @robust("bim", 0.3, min_acc=0.9)
    def test_fails():
        pass
"""

PREFIX = len("test_suite.py::test_slow[bim-eps0.02] ")


@pytest.fixture
def slow(suite):
    suite.conftest(SLOW)
    suite.tests(TESTS)
    return suite


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_conftest):
    """The same suite for processes of their own, whose imports take longest: few are started."""
    path = tmp_path_factory.mktemp("suite")
    (path / "conftest.py").write_text(small_conftest + "\n\n" + dedent(SLOW))
    head = "import pytest\nfrom pytest_aerobust import *\n\n\n"
    (path / "test_suite.py").write_text(head + dedent(TESTS))
    return path


@pytest.fixture(scope="module")
def stream(folder):
    """What a terminal gets of the whole suite."""
    return in_terminal(folder)


def in_terminal(folder, *options, columns=100):
    """What pytest writes to a terminal of its own, byte by byte."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_", "COLU"))}
    told = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TERM": "xterm", "SECONDS_A_STEP": "0.07"}
    command = [sys.executable, "-m", "pytest", "-p", "pytest_aerobust.plugin", "--aerobust"]
    command.append("--aerobust-no-cache")  # whatever is shown has to be measured
    process = subprocess.Popen(
        [*command, "--color=no", "--no-header", *options],
        cwd=folder,
        env={**clean, **told},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    found, deadline = b"", time.monotonic() + 300
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
    return found.decode()


def screen(stream, columns=100):
    """What is to be seen in the end, as a terminal shows it."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[\d*[A-Za-z]|.|\n|\r", stream, flags=re.DOTALL):
        if token == "\r":
            column = 0
        elif token == "\x1b[K":
            lines[row] = lines[row][:column]
        elif token == "\x1b[A":
            row -= 1
        elif re.fullmatch(r"\x1b\[\d+G", token):
            column = int(token[2:-1]) - 1
        else:
            assert not token.startswith("\x1b"), token
            # A full line breaks only once there is more to write.
            broken = token != "\n" and column == columns
            row, column = (row + 1, 0) if broken else (row + (token == "\n"), column)
            lines += [""] * (row + 1 - len(lines))
            if token != "\n":
                lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + 1 :]
                column += 1
    return "\n".join(line.rstrip() for line in lines).strip()


def frames(stream):
    """Every look of the line, in order."""
    return [look for look in re.findall(r"[\n\r]([^\n\r]*)\x1b\[K", stream) if look]


def from_the_tests_on(text):
    """Without times, and without the count of collected tests, which pytest rewrites itself."""
    text = text[text.index("test_suite.py") :]
    return re.sub(r"\d+\.\d+s|\s+\d+\.\d$|=+", "", text, flags=re.MULTILINE)


def test_the_line_holds_contract_budget_numbers_and_time_left(stream):
    """It follows the chunks to the last one, in one row of the terminal."""
    shown = [look for look in frames(stream) if look.startswith("test_slow")]
    found = [
        re.fullmatch(
            r"test_slow\[bim-eps0.02\]: BIM Linf eps=0.02, (\d+) of 640 decided, (\d+) survive"
            r"(, about \d+ s left)?",
            look,
        )
        for look in shown
    ]
    assert all(found), shown
    assert len({look[1] for look in found}) == len(shown) > 1
    assert found[-1].groups() == ("640", "640", None)
    assert all(look[3] for look in found[:-1])


def test_a_long_name_gives_way_to_the_numbers(stream):
    """Where a line can't hold both, the name is cut."""
    shown = [look for look in frames(stream) if look.startswith("test_\\xf6")]
    assert shown
    for look in shown:
        assert re.search(r"\.\.\.: BIM Linf eps=0.02, \d+ of 640 decided, ", look)
        assert len(look) < 100


def assert_no_trace(stream, plain, columns):
    assert "\x1b" not in plain
    expected = screen(plain.replace("\n", "\r\n"), columns)
    assert from_the_tests_on(screen(stream, columns)) == from_the_tests_on(expected)


def test_the_line_leaves_no_trace(stream, slow, monkeypatch):
    """The screen in the end is that of a run without a terminal, also where a model broke."""
    assert any(look.startswith("test_breaks") for look in frames(stream))
    monkeypatch.setenv("COLUMNS", "100")
    plain = slow.run("--aerobust-no-cache", "--color=no", "--no-header").stdout.str()
    assert "out of memory" in plain
    assert_no_trace(stream, plain, 100)


def test_a_full_and_narrow_line_is_found_again(folder, slow, monkeypatch):
    """Also where pytest's own line is as wide as the terminal, and pytest thinks it is wider."""
    wanted = ("-v", "-k", "test_slow")
    stream = in_terminal(folder, *wanted, columns=PREFIX)
    assert len(frames(stream)) > 1
    assert all(len(look) < PREFIX for look in frames(stream))
    monkeypatch.setenv("COLUMNS", str(PREFIX))
    plain = slow.run("--aerobust-no-cache", "--color=no", "--no-header", *wanted).stdout.str()
    assert_no_trace(stream, plain, PREFIX)


def test_workers_show_no_line(folder):
    """Under -n 2 a terminal gets what the controller writes, and nothing through it."""
    stream = in_terminal(folder, "-p", "xdist", "-n", "2", "-k", "test_slow or test_plain")
    assert "2 passed" in stream
    assert "decided" not in stream


@pytest.mark.parametrize(
    ("options", "term", "kind"),
    [
        ((), "xterm", Line),
        (("-v",), "xterm", Line),
        (("--capture=sys",), "xterm", Line),
        (("-p", "no:logging"), "xterm", Line),
        ((), "dumb", Log),
        (("-q",), "xterm", Log),
        (("-s",), "xterm", Log),
        (("--capture=tee-sys",), "xterm", Log),
        (("--log-cli-level=INFO",), "xterm", Log),
        (("-o", "log_cli=true"), "xterm", Log),
        (("-p", "no:terminal"), "xterm", Log),
    ],
)
def test_a_line_only_where_nothing_else_writes(pytester, monkeypatch, options, term, kind):
    """On a terminal none under -q, beside other output, or where it can't be cleared."""
    monkeypatch.setenv("TERM", term)
    config = pytester.parseconfigure(*options)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        assert type(watching(config)("test")) is Log  # not on a terminal so far
        reporter.isatty = True
    assert type(watching(config)("test")) is kind


def test_elsewhere_there_is_a_log(slow):
    """Without a terminal one record for each chunk, shown where INFO is asked for."""
    logged = slow.run("--log-cli-level=INFO", "-k", "test_slow").stdout.str()
    records = re.findall(r"INFO +pytest_aerobust:.*test_slow\[bim-eps0.02\]: (.*)", logged)
    assert [int(re.search(r"(\d+) of 640 decided", each)[1]) for each in records] == [
        *(0, 128, 384, 640)
    ]
    assert records[0] == "BIM Linf eps=0.02, 0 of 640 decided, 0 survive"
    assert "of 640 decided" not in slow.run("-k", "test_slow").stdout.str()


def test_the_time_left_follows_the_pace_of_this_search_alone(caplog):
    """Who was decided before it took no time, and the next budget starts anew."""
    caplog.set_level(logging.INFO, "pytest_aerobust")
    watch = Log("test_file.py::test_it")
    for decided, seconds in [(600, 1.0), (700, 11.0), (1000, 40.0)]:
        watch(Progress("BIM Linf", 0.3, 1000, decided, 50, seconds))
    watch(Progress("BIM Linf", 0.3, 1000, 1000, 50, 41.0, finished=True))
    for decided, seconds in [(0, 0.0), (100, 10.0)]:
        watch(Progress("BIM Linf", 0.1, 1000, decided, 50, seconds))
    told = [record.getMessage().partition("survive")[2] for record in caplog.records]
    assert told == ["", ", about 31 s left", "", "", ", about 1 min 31 s left"]


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
