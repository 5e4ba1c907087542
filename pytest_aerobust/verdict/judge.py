"""From a contract's floors and an evaluation to a verdict."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.contract.waivers import OF_ANSWERS
from pytest_aerobust.results.arm import Interval
from pytest_aerobust.results.evaluation import Evaluation, Evidence, Regression

Result = Literal["passed", "failed", "inconclusive", "undecided"]


@dataclass(frozen=True)
class FloorCheck:
    """One floor against what is known of its quantity.

    Attributes:
        name: The floor's name in the mark.
        floor: Its value.
        measured: What the quantity can still be.
        holds: Whether it holds; None while that is open.
        of: Whose quantity it is, in words; empty where it is that of the samples.
        remedy: What would settle it, in words, where no attack does.
        missing: Why its quantity has no value, in words; empty where it has one.
    """

    name: str
    floor: Fraction
    measured: Interval
    holds: bool | None
    of: str = ""
    remedy: str = ""
    missing: str = ""

    @property
    def slack(self) -> Fraction:
        """How far the worst that its quantity can still be lies on the right side of it."""
        low, high = self.measured
        return low - self.floor if QUANTITIES[self.name].at_least else self.floor - high


@dataclass(frozen=True)
class Verdict:
    """The outcome of a contract.

    Attributes:
        outcome: ``passed``; ``failed``; ``inconclusive``, no floor is broken but the evidence
            is void or too little, or the model does not stand by its answers; or ``undecided``,
            more samples have to be attacked.
        checks: Every floor with its numbers.
        void: The evidence that a pass can't rest on.
    """

    outcome: Result
    checks: tuple[FloorCheck, ...]
    void: tuple[Evidence, ...] = ()


Check = Callable[[str, Fraction, Evaluation], FloorCheck]
"""Holds one floor, by name and value, against an evaluation."""


@dataclass(frozen=True)
class Quantity:
    """What a floor is about.

    Attributes:
        words: Its name for people.
        measure: What it can still be, of the samples.
        at_least: Whether the floor is the least that it may be, or the most.
    """

    words: str
    measure: Callable[[Evaluation], Interval]
    at_least: bool


def _gain(evaluation: Evaluation) -> Interval:
    filtered, unfiltered = evaluation.pipeline, evaluation.unfiltered
    return filtered.accuracy_interval - unfiltered.accuracy_interval


def _regression(evaluation: Evaluation) -> Interval:
    found = evaluation.regression
    if found is None or found.status != "compared":
        return ANYTHING
    return found.drop_interval


ANYTHING = Interval(Fraction(-1), Fraction(1))

QUANTITIES = {
    "min_clean_acc": Quantity("clean accuracy", lambda e: e.pipeline.clean_interval, True),
    "min_acc": Quantity("robust accuracy", lambda e: e.pipeline.accuracy_interval, True),
    "max_drop": Quantity("accuracy lost", lambda e: e.pipeline.drop_interval, False),
    "min_gain": Quantity("accuracy gained by the filter", _gain, True),
    "max_regression": Quantity("accuracy lost since the baseline", _regression, False),
    "max_target_hits": Quantity("target hits", lambda e: e.pipeline.target_hits_interval, False),
}


def about_samples(name: str, floor: Fraction, evaluation: Evaluation) -> FloorCheck:
    """One floor against what is known of the samples at hand."""
    if name == "max_regression" and evaluation.regression is not None:
        return about_baseline(floor, evaluation.regression)
    measured = QUANTITIES[name].measure(evaluation)
    holds = holding(name, floor, measured)
    remedy = _UNDECIDED if holds is None and evaluation.complete else ""
    return FloorCheck(name, floor, measured, holds, remedy=remedy)


_UNDECIDED = "a tie of logits or their rounding decides (see the notes)"


def about_baseline(floor: Fraction, found: Regression) -> FloorCheck:
    """A floor against the baseline, of which there may be none that fits."""
    name = "max_regression"
    if found.status == "compared":
        drop = found.drop_interval
        return FloorCheck(name, floor, drop, holding(name, floor, drop))
    if found.status == "stored":
        return FloorCheck(name, floor, ANYTHING, True, missing="this run is the new baseline")
    words = f"{found.status}, {found.reason}; store it with --aerobust-update"
    return FloorCheck(name, floor, ANYTHING, False if found.required else None, missing=words)


def holding(name: str, floor: Fraction, measured: Interval) -> bool | None:
    """Whether a floor holds whatever its quantity still turns out to be; None while open."""
    low, high = measured
    if QUANTITIES[name].at_least:
        return True if low >= floor else False if high < floor else None
    return True if high <= floor else False if low > floor else None


def judge(floors: Floors, evaluation: Evaluation, check: Check = about_samples) -> Verdict:
    """The verdict on an evaluation, finished or not; a pure function of both.

    A floor is decided by interval arithmetic over everything that the samples not yet attacked
    could still do, so the verdict of an early stop is that of the full run. A model that does not
    stand by its answers makes witnesses as worthless as survivors.
    """
    demanded = floors.at(evaluation.eps).items()
    checks = _telling(check(name, floor, evaluation) for name, floor in demanded)
    void = tuple(f for f in evaluation.evidence if f.void and f.arm in _weighed(floors, evaluation))
    if any(finding.name in OF_ANSWERS for finding in void):
        return Verdict("inconclusive", checks, void)
    if any(check.holds is False for check in checks):
        return Verdict("failed", checks)
    if any(check.holds is None for check in checks):
        if evaluation.complete:
            return Verdict("inconclusive", checks, void)
        return Verdict("undecided", checks)
    return Verdict("inconclusive" if void else "passed", checks, void)


def _telling(checks: Iterable[FloorCheck]) -> tuple[FloorCheck, ...]:
    """Without those that have nothing to say yet, where others have."""
    found = (*checks,)
    told = tuple(check for check in found if not check.missing or check.holds is False)
    return told or found


def _weighed(floors: Floors, evaluation: Evaluation) -> set[str]:
    """The arms whose evidence counts: the pipeline's, and both where a floor compares them."""
    pipeline = "unfiltered" if evaluation.filtered is None else "filtered"
    return {pipeline} if floors.min_gain is None else {"filtered", "unfiltered"}
