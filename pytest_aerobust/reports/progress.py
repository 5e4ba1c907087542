"""How far a long contract has come: a line that comes and goes, or a log."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_aerobust.measurement.measurement import OnProgress, Progress

_LOG = logging.getLogger("pytest_aerobust")
# Seconds before anything is shown, and between two looks of the line.
_PATIENCE, _PACE = 1.0, 0.2
_CLEAR = "\x1b[K"


def watching(config: pytest.Config) -> "Callable[[str], OnProgress]":
    """What watches a test, by its id: a line on a terminal, elsewhere the log at level INFO."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None or not _is_for_people(config, reporter):
        return Log
    return lambda test: Line(config.get_terminal_writer(), capture, test)


def _is_for_people(config: pytest.Config, reporter: Any) -> bool:
    """Whether somebody sees the terminal, wants no quiet, and nothing but pytest writes there."""
    alone = not hasattr(config, "workerinput")
    able = reporter.isatty and os.environ.get("TERM") != "dumb"
    # Otherwise what tests print goes to the terminal, and through the line.
    captured = config.option.capture in ("fd", "sys")
    shown = config.get_verbosity() >= 0
    return bool(alone and able and captured and shown and not _logs_live(config))


def _logs_live(config: pytest.Config) -> bool:
    """Whether records go to the terminal as they come; then these are among them."""
    if not config.pluginmanager.has_plugin("logging-plugin"):
        return False
    return config.getoption("log_cli_level") is not None or bool(config.getini("log_cli"))


class _Watch:
    """Sees the measurements of one test in turn, each from its start to its end.

    Args:
        test: The test's id.
    """

    def __init__(self, test: str) -> None:
        self._test = test
        self._start: Progress | None = None

    def __call__(self, progress: "Progress") -> None:
        """Note where a measurement starts; its pace is counted from there."""
        start = self._start or progress
        self._start = None if progress.finished else start
        self._see(progress, _words(progress, start))

    def _see(self, progress: "Progress", words: str) -> None:
        raise NotImplementedError


def _words(progress: "Progress", start: "Progress") -> str:
    parts = [
        f"{progress.label} eps={progress.eps:.4g}",
        f"{progress.decided} of {progress.samples} decided",
        f"{progress.survivors} survive",
    ]
    # Who is wrong without an attack, or settled by another budget, took no time.
    decided, waiting = progress.decided - start.decided, progress.samples - progress.decided
    if decided and waiting:
        left = (progress.seconds - start.seconds) / decided * waiting
        parts.append(f"about {_span(left)} left")
    return ", ".join(parts)


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds) + 1, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Log(_Watch):
    """One record at the start of each measurement, and one for each chunk."""

    def _see(self, progress: "Progress", words: str) -> None:
        if not progress.finished:
            _LOG.info("%s: %s", self._test, words)


class Line(_Watch):
    """One line below what pytest has printed; gone before pytest prints on.

    Args:
        terminal: pytest's writer, which knows where the cursor is.
        capture: pytest's, which lets go of the terminal meanwhile.
        test: The test's id.
    """

    def __init__(self, terminal: Any, capture: Any, test: str) -> None:
        super().__init__(test)
        self._terminal, self._capture = terminal, capture
        self._shown, self._next = False, 0.0

    def _see(self, progress: "Progress", words: str) -> None:
        """Show it where that is worth it; clear the line at the end."""
        if progress.finished:
            self._clear()
        elif progress.seconds >= _PATIENCE and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PACE
            self._show(words)

    def _show(self, words: str) -> None:
        with self._uncaptured() as width:
            # The last column stays free: a full line would break in two.
            text = _fitted(_short(self._test), words, width - 1)
            sys.stdout.write(("\r" if self._shown else "\n") + text + _CLEAR)
        self._shown = True

    def _clear(self) -> None:
        if self._shown:
            with self._uncaptured() as width:
                sys.stdout.write(f"\r{_CLEAR}{self._way_back(width)}")
            self._shown = False

    def _way_back(self, width: int) -> str:
        """Up again, to where pytest goes on; after a full line that is where this one was."""
        before = self._terminal.width_of_current_line
        rest = before % width
        return "" if before and not rest else f"\x1b[A\x1b[{rest + 1}G"

    @contextmanager
    def _uncaptured(self) -> Iterator[int]:
        """Let ``sys.stdout`` be the terminal, this many columns wide whatever COLUMNS says.

        pytest's own writer is not for this: its count of columns must stay that of its own line.
        """
        with self._capture.global_and_fixture_disabled():
            yield os.get_terminal_size(sys.stdout.fileno()).columns or self._terminal.fullwidth
            sys.stdout.flush()


def _short(test: str) -> str:
    """Without its file, and in characters of one column that every terminal can write."""
    name = test.split("::", 1)[-1]
    return name.encode("ascii", "backslashreplace").decode("ascii")


def _fitted(name: str, words: str, width: int) -> str:
    """One line; where it is too long, the name gives way to the numbers."""
    room = width - len(words) - len(": ")
    if len(name) > room:
        name = name[: max(room - 3, 0)] + "..."
    return f"{name}: {words}"[:width]
