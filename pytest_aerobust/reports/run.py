"""A whole run, as the files tell it: contracts, what went wrong beside them, how to repeat it."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, Literal

from pytest_aerobust.names import name_of
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.reports.rows import rank, ranked, row, short_names
from pytest_aerobust.results.evaluation import Evaluation

Verdict = Literal["failed", "inconclusive", "unfinished", "nothing", "passed"]

HEADINGS: Mapping[Verdict, str] = {
    "failed": "✗ failed",
    "inconclusive": "? inconclusive",
    "unfinished": "? unfinished",
    "nothing": "? nothing was proved",
    "passed": "✓ passed",
}
SIGNS = {"failed": "✗", "inconclusive": "?", "expected": "○", "passed": "✓"}
_PACKAGES = ("pytest-aerobust", "pytest", "torch", "foolbox", "numpy", "hypothesis")


@dataclass(frozen=True)
class Checked:
    """A contract with a verdict.

    Attributes:
        test: The test's id.
        outcome: What pytest makes of it: ``passed``, ``failed``, ``xfailed`` or ``xpassed``.
        rank: What that means for a reader, one of `rows.RANKS`.
        row: Text for each of `rows.COLUMNS`.
        failure: Everything that the failure says; None where there is none.
        result: What the report carries, as ``report.aerobust``.
    """

    test: str
    outcome: str
    rank: str
    row: Mapping[str, str]
    failure: str | None
    result: Mapping[str, Any]

    @cached_property
    def evaluation(self) -> Evaluation:
        return Evaluation.from_dict(self.result["evaluation"])

    @property
    def broken(self) -> bool:
        """Whether its verdict is ``failed``, expected or not."""
        return bool(self.result["verdict"] == "failed")


@dataclass(frozen=True)
class Incident:
    """What kept contracts from a verdict, or went wrong after it.

    Attributes:
        test: The test's id, or that of a file that could not be collected.
        when: ``collect``, ``setup``, ``call``, ``teardown``; ``???`` where a process died.
        outcome: ``error``, ``failed``, ``xfailed`` or ``skipped``.
        message: Everything that is known of it.
    """

    test: str
    when: str
    outcome: str
    message: str


@dataclass(frozen=True)
class Run:
    """What the files of a run are made of.

    Attributes:
        settings: The options.
        versions: Of the packages that took part.
        contracts: Those with a verdict, failures first.
        incidents: Whatever left a contract without one.
        collected: How many contracts there were.
    """

    settings: Settings
    versions: Mapping[str, str]
    contracts: Sequence[Checked]
    incidents: Sequence[Incident]
    collected: int

    @property
    def verdict(self) -> Verdict:
        """Of all contracts together, the worst."""
        ranks = {contract.rank for contract in self.contracts}
        if "failed" in ranks or any(i.outcome in ("error", "failed") for i in self.incidents):
            return "failed"
        if "inconclusive" in ranks:
            return "inconclusive"
        if self.missing:
            return "unfinished"
        return "passed" if self.contracts else "nothing"

    @property
    def missing(self) -> int:
        """How many contracts were collected and never reached."""
        reached = {checked.test for checked in self.contracts}
        reached |= {incident.test for incident in self.incidents}
        return max(self.collected - len(reached), 0)

    @property
    def summary(self) -> str:
        """The counts in one line."""
        counts = Counter(contract.row["verdict"] for contract in self.contracts)
        unjudged = len({incident.test for incident in self.incidents})
        parts = [f"{number} {verdict}" for verdict, number in counts.items()]
        parts += [f"{unjudged} with an error, a skip or a failing body"] if unjudged else []
        parts += [f"{self.missing} not run"] if self.missing else []
        return f"{_counted(self.collected)}{': ' if parts else ''}{', '.join(parts)}"

    @property
    def options(self) -> dict[str, Any]:
        """What repeats the run; a mark may say otherwise for its own contract."""
        costs = self.settings.shared_costs
        return {
            "profile": self.settings.profile.name or None,
            "samples": costs.samples,
            "seed": costs.seed,
            "device": costs.device,
            "full": self.settings.full,
        }


def _counted(number: int) -> str:
    return f"{number} contract{'' if number == 1 else 's'}"


def run_of(
    settings: Settings, checked: Sequence[Any], incidents: Sequence[Any], collected: int
) -> Run:
    """The run that pytest's reports tell of.

    Args:
        settings: The options.
        checked: Reports of contracts with a verdict.
        incidents: Reports of what went wrong otherwise.
        collected: How many contracts there were.
    """
    ordered = ranked(checked)
    names = short_names([name_of(report) for report in ordered])
    packages = {name: version(name) for name in _PACKAGES}
    return Run(
        settings,
        {"python": platform.python_version(), **packages},
        [_checked(report, name) for report, name in zip(ordered, names, strict=True)],
        [_incident(report) for report in incidents],
        collected,
    )


def _checked(report: Any, name: str) -> Checked:
    return Checked(
        test=name_of(report),
        outcome=_outcome(report),
        rank=rank(report),
        row=row(report, name),
        failure=_message(report) or None,
        result=report.aerobust,
    )


def _incident(report: Any) -> Incident:
    # A report of a collection has no such attribute.
    when = getattr(report, "when", "collect")
    return Incident(name_of(report), when, _outcome(report), _message(report))


def _outcome(report: Any) -> str:
    """The word that pytest's own summary has for it."""
    if hasattr(report, "wasxfail"):
        expected = {"skipped": "xfailed", "passed": "xpassed"}
        return expected.get(report.outcome, str(report.outcome))
    if report.failed and getattr(report, "when", "collect") in ("collect", "setup", "teardown"):
        return "error"
    return str(report.outcome)


def _message(report: Any) -> str:
    # Of a skip it is (file, line, reason).
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext)
