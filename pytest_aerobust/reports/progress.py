"""How far a long contract has come: a line that comes and goes, or a log."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_aerobust.evaluation import OnProgress, Progress

_LOG = logging.getLogger("pytest_aerobust")
# Seconds before anything is shown, and between two looks of the line.
_PATIENCE, _PACE = 1.0, 0.2
_CLEAR = "\x1b[K"


def watching(config: pytest.Config) -> "Callable[[str], OnProgress]":
    """What watches a test, by its id: a line on a terminal, elsewhere the log at level INFO."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None or not _is_for_people(config, reporter):
        return lambda test: lambda progress: _log(test, progress)
    return lambda test: Line(config.get_terminal_writer(), capture, test)


def _is_for_people(config: pytest.Config, reporter: Any) -> bool:
    """Whether somebody sees the terminal, and asked neither for quiet nor for tests' output."""
    alone = not hasattr(config, "workerinput")
    shown = config.get_verbosity() >= 0 and config.option.capture != "no"
    return bool(alone and shown and reporter.isatty)


def _log(test: str, progress: "Progress") -> None:
    _LOG.info("%s: %s", test, _words(progress))


def _words(progress: "Progress") -> str:
    parts = [
        f"{progress.label} eps={progress.eps:.4g}",
        f"{progress.decided} of {progress.samples} samples decided",
        f"{progress.survivors} stand",
    ]
    open_samples = progress.samples - progress.decided
    if progress.decided and open_samples and not progress.finished:
        left = progress.seconds / progress.decided * open_samples
        parts.append(f"at most {_span(left)} left")
    return ", ".join(parts)


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds) + 1, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Line:
    """One line below what pytest has printed; gone before pytest prints on.

    Args:
        terminal: pytest's writer, which knows where the cursor is.
        capture: pytest's, which lets go of the terminal meanwhile.
        test: The test's id.
    """

    def __init__(self, terminal: Any, capture: Any, test: str) -> None:
        self._terminal, self._capture = terminal, capture
        self._name = test.rpartition("::")[2]
        self._shown, self._next = False, 0.0

    def __call__(self, progress: "Progress") -> None:
        """Show how far it is, where that is worth it; clear the line at the end."""
        if progress.finished:
            self._clear()
        elif progress.seconds >= _PATIENCE and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PACE
            self._show(f"{self._name}: {_words(progress)}")

    def _show(self, text: str) -> None:
        width = self._terminal.fullwidth - 1
        self._write(("\r" if self._shown else "\n") + text[:width] + _CLEAR)
        self._shown = True

    def _clear(self) -> None:
        if self._shown:
            # Up again, to where pytest goes on.
            column = self._terminal.width_of_current_line % self._terminal.fullwidth + 1
            self._write(f"\r{_CLEAR}\x1b[A\x1b[{column}G")
            self._shown = False

    def _write(self, text: str) -> None:
        with self._capture.global_and_fixture_disabled():
            # Not by pytest's writer, whose count of columns must stay that of its own line.
            sys.stdout.write(text)
            sys.stdout.flush()
