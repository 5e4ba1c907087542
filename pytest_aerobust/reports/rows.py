"""What every report tells of a contract in one row, and in which order."""

from collections.abc import Sequence
from typing import Any

from pytest_aerobust.results.arm import Arm
from pytest_aerobust.results.evaluation import Evaluation

COLUMNS = (
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
# A page may be narrow: the verdict must not be what is out of sight.
PAGE_COLUMNS = ("verdict", *(column for column in COLUMNS if column != "verdict"))
WORDS = {"test", "attack", "budget", "threat", "floor", "verdict"}
RANKS = ("failed", "inconclusive", "expected", "passed")


def ranked(reports: Sequence[Any]) -> list[Any]:
    """What needs a person first."""
    return sorted(reports, key=lambda report: RANKS.index(rank(report)))


def rank(report: Any) -> str:
    """One of `RANKS`: what a checked contract means for whoever reads on."""
    verdict: str = report.aerobust["verdict"]
    if verdict != "passed" and hasattr(report, "wasxfail"):
        return "expected"
    # A strict xfail that passes is a failure of its test.
    return "failed" if report.failed and verdict == "passed" else verdict


def row(report: Any, name: str) -> dict[str, str]:
    """Text for each of `COLUMNS`.

    Args:
        report: Of a checked contract.
        name: What the test is called in this report.
    """
    result = report.aerobust
    evaluation = Evaluation.from_dict(result["evaluation"])
    floors = (f"{floor} {value:g}" for floor, value in result["floors"].items())
    filtered = "-" if evaluation.filtered is None else _accuracy(evaluation.filtered)
    remark = {("expected", False): " (xfail)", ("failed", True): " (xpass)"}
    verdict = result["verdict"]
    verdict += remark.get((rank(report), verdict == "passed"), "")
    return {
        "test": name,
        "attack": _attack(evaluation),
        "budget": _budget(evaluation),
        "threat": "-" if not evaluation.attacked else evaluation.threat,
        "clean": f"{evaluation.pipeline.clean_accuracy:.3f}",
        "unfiltered": _accuracy(evaluation.unfiltered),
        "filtered": filtered,
        "floor": ", ".join(floors),
        "verdict": verdict,
        "seconds": "cached" if evaluation.cached else f"{evaluation.seconds:.1f}",
    }


def _budget(evaluation: Evaluation) -> str:
    """Of the attack, and what happens before it."""
    parts = [evaluation.before] if evaluation.before else []
    if evaluation.attacked:
        parts.append(f"{evaluation.norm.capitalize()} {evaluation.eps:.4g}")
    return ", ".join(parts) or "-"


def _attack(evaluation: Evaluation) -> str:
    if not evaluation.attacked:
        return "-"
    aimed = "" if evaluation.target is None else f" to {evaluation.target}"
    limited = "" if evaluation.limit is None else f", {evaluation.limit} queries"
    return f"{evaluation.attack}{aimed}{limited}"


def _accuracy(arm: Arm) -> str:
    """One number, or the bounds of one that was not needed exactly."""
    low, high = arm.accuracy_interval
    if low == high:
        return f"{float(low):.3f}"
    return f"{float(low):.3f}..{float(high):.3f}"


def short_names(ids: list[str]) -> list[str]:
    """Ids without their file, where all results come from one file."""
    files = {name.split("::")[0] for name in ids}
    return [name.split("::", 1)[-1] for name in ids] if len(files) == 1 else ids


def notes(results: Sequence[Any]) -> list[str]:
    """Each note once, whatever the number of contracts that it concerns.

    Args:
        results: What the reports carry, as ``report.aerobust``.
    """
    evaluations = [result["evaluation"] for result in results]
    found = [note for each in evaluations for note in each["notes"]]
    found += [
        f"the check {finding['name']} ({finding['arm']}) is turned off: {finding['text']}"
        for each in evaluations
        for finding in each["evidence"]
        if finding["weight"] == "waived"
    ]
    return list(dict.fromkeys(found))
