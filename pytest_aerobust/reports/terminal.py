"""The terminal section: one aligned row per contract, failures first."""

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_aerobust.catalogue import NOTHING
from pytest_aerobust.disturbances import spelled
from pytest_aerobust.results import Arm, Evaluation

_COLUMNS = (
    "test",
    "attack",
    "budget",
    "threat",
    "clean",
    "unfiltered",
    "filtered",
    "floor",
    "verdict",
    "seconds",
)
_LEFT = {"test", "attack", "budget", "threat", "floor", "verdict"}
_ORDER = ("failed", "inconclusive", "expected", "passed")
_COLOURS = {"failed": "red", "inconclusive": "yellow", "expected": "yellow", "passed": "green"}


def summarise(terminal: pytest.TerminalReporter, reports: Sequence[Any]) -> None:
    """Write the section; nothing where no contract was checked, or under -qq."""
    if not reports or terminal.verbosity < -1:
        return
    ranked = sorted(reports, key=lambda report: _ORDER.index(_rank(report)))
    short = _short_names([report.nodeid for report in ranked])
    rows = [_row(report, name) for report, name in zip(ranked, short, strict=True)]
    widths = {c: max(len(c), *(len(row[c]) for row in rows)) for c in _COLUMNS}
    terminal.write_sep("=", "robustness contracts")
    terminal.write_line(_aligned({c: c for c in _COLUMNS}, widths))
    for report, row in zip(ranked, rows, strict=True):
        terminal.write_line(_aligned(row, widths), **{_COLOURS[_rank(report)]: True})
    _write_notes(terminal, ranked)


def _rank(report: Any) -> str:
    verdict: str = report.aerobust["verdict"]
    if verdict != "passed" and hasattr(report, "wasxfail"):
        return "expected"
    # A strict xfail that passes is a failure of its test.
    return "failed" if report.failed and verdict == "passed" else verdict


def _row(report: Any, name: str) -> dict[str, str]:
    result = report.aerobust
    evaluation = Evaluation.from_dict(result["evaluation"])
    floors = (f"{floor} {value:g}" for floor, value in result["floors"].items())
    filtered = "-" if evaluation.filtered is None else _accuracy(evaluation.filtered)
    remark = {("expected", False): " (xfail)", ("failed", True): " (xpass)"}
    verdict = result["verdict"]
    verdict += remark.get((_rank(report), verdict == "passed"), "")
    return {
        "test": name,
        "attack": _attack(evaluation),
        "budget": _budget(evaluation),
        "threat": "-" if evaluation.attack == NOTHING.name else evaluation.threat,
        "clean": f"{evaluation.pipeline.clean_accuracy:.3f}",
        "unfiltered": _accuracy(evaluation.unfiltered),
        "filtered": filtered,
        "floor": ", ".join(floors),
        "verdict": verdict,
        "seconds": "cached" if evaluation.cached else f"{evaluation.seconds:.1f}",
    }


def _budget(evaluation: Evaluation) -> str:
    """Of the attack, and what happens before it."""
    parts = [spelled(evaluation.disturbances)] if evaluation.disturbances else []
    if evaluation.attack != NOTHING.name:
        parts.append(f"{evaluation.norm.capitalize()} {evaluation.eps:.4g}")
    return ", ".join(parts) or "-"


def _attack(evaluation: Evaluation) -> str:
    if evaluation.attack == NOTHING.name:
        return "-"
    target, queries = evaluation.target, evaluation.queries
    aimed = "" if target is None else f" to {target}"
    limited = "" if queries is None or queries.limit is None else f", {queries.limit} queries"
    return f"{evaluation.attack}{aimed}{limited}"


def _accuracy(arm: Arm) -> str:
    """One number, or the bounds of one that was not needed exactly."""
    low, high = arm.accuracy_interval
    if low == high:
        return f"{float(low):.3f}"
    return f"{float(low):.3f}..{float(high):.3f}"


def _aligned(row: dict[str, str], widths: dict[str, int]) -> str:
    cells = (row[c].ljust(widths[c]) if c in _LEFT else row[c].rjust(widths[c]) for c in _COLUMNS)
    return "  ".join(cells).rstrip()


def _short_names(ids: list[str]) -> list[str]:
    """Ids without their file, where all results come from one file."""
    files = {name.split("::")[0] for name in ids}
    return [name.split("::", 1)[-1] for name in ids] if len(files) == 1 else ids


def _write_notes(terminal: pytest.TerminalReporter, reports: Sequence[Any]) -> None:
    """Each note once, whatever the number of contracts that it concerns."""
    evaluations = [report.aerobust["evaluation"] for report in reports]
    found = [note for each in evaluations for note in each["notes"]]
    found += [
        f"the check {finding['name']} ({finding['arm']}) is turned off: {finding['text']}"
        for each in evaluations
        for finding in each["evidence"]
        if finding["weight"] == "waived"
    ]
    for note in dict.fromkeys(found):
        terminal.write_line(f"note: {note}")
