"""The terminal section: one aligned row per contract, failures first."""

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_aerobust.names import name_of
from pytest_aerobust.reports.rows import COLUMNS, WORDS, notes, rank, ranked, row, short_names

_COLOURS = {"failed": "red", "inconclusive": "yellow", "expected": "yellow", "passed": "green"}


def summarise(terminal: pytest.TerminalReporter, reports: Sequence[Any]) -> None:
    """Write the section; nothing where no contract was checked, or under -qq."""
    if not reports or terminal.verbosity < -1:
        return
    ordered = ranked(reports)
    short = short_names([name_of(report) for report in ordered])
    rows = [row(report, name) for report, name in zip(ordered, short, strict=True)]
    widths = {c: max(len(c), *(len(each[c]) for each in rows)) for c in COLUMNS}
    terminal.write_sep("=", "robustness contracts")
    terminal.write_line(_aligned({c: c for c in COLUMNS}, widths))
    for report, each in zip(ordered, rows, strict=True):
        terminal.write_line(_aligned(each, widths), **{_COLOURS[rank(report)]: True})
    for note in notes([report.aerobust for report in ordered]):
        terminal.write_line(f"note: {note}")


def _aligned(cells: dict[str, str], widths: dict[str, int]) -> str:
    texts = (
        cells[c].ljust(widths[c]) if c in WORDS else cells[c].rjust(widths[c]) for c in COLUMNS
    )
    return "  ".join(texts).rstrip()
