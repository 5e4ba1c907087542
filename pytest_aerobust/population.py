"""Floors held against the population that the samples were drawn from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from pytest_aerobust.results import (
    AT_TARGET,
    BEATEN,
    EXEMPT,
    FELL,
    HUNTED,
    PENDING,
    SURVIVED,
    WRONG,
    Arm,
    Evaluation,
    Interval,
)
from pytest_aerobust.statistics import (
    anytime_bounds,
    difference_bounds,
    first_crossing,
    proportion_bounds,
    samples_to_decide,
)
from pytest_aerobust.verdict import (
    ANYTHING,
    QUANTITIES,
    Check,
    FloorCheck,
    about_baseline,
    holding,
)

_STANDING, _FALLEN = {SURVIVED, EXEMPT}, {BEATEN, AT_TARGET, HUNTED, FELL}

# Of which samples each floor's quantity is the share: letters that count, letters that do not.
# Whoever is neither has no part in it; who is pending may still be either.
_SHARES: dict[str, tuple[set[str], set[str]]] = {
    "min_clean_acc": ({*_STANDING, *_FALLEN, PENDING}, {WRONG}),
    "min_acc": (_STANDING, {*_FALLEN, WRONG}),
    "max_drop": (_FALLEN, {*_STANDING, WRONG}),
    "max_target_hits": ({AT_TARGET}, {SURVIVED, BEATEN}),
}


@dataclass(frozen=True)
class _Risk:
    """How often a statement may be wrong.

    A pass says that all floors hold, so each may be wrong as often as the whole; a failure takes
    one that is broken, so they share.
    """

    passing: float
    failing: float

    def sides(self, at_least: bool) -> tuple[float, float]:
        """Of a lower bound, and of an upper one."""
        return (self.passing, self.failing) if at_least else (self.failing, self.passing)


def about_population(confidence: Fraction, floors: int, *, sequential: bool = False) -> Check:
    """A check of floors that takes the samples as a draw from a population.

    Args:
        confidence: Least probability, in (0, 1), that a verdict other than inconclusive is right.
        floors: How many floors the contract has.
        sequential: Whether samples are looked at one after the other, in random order, until the
            test of each floor may end.
    """
    alpha = float(1 - confidence)
    risk = _Risk(alpha, alpha / floors)
    told = f"of the population ({100 * float(confidence):.6g} % confidence)"

    def check(name: str, floor: Fraction, evaluation: Evaluation) -> FloorCheck:
        sides = risk.sides(QUANTITIES[name].at_least)
        past = evaluation.regression
        if name == "max_regression" and past is not None and past.status != "compared":
            return about_baseline(floor, past)
        if name not in _SHARES:
            return _paired(FloorCheck(name, floor, ANYTHING, None, told), evaluation, sides)
        share = _Share(name, evaluation.pipeline)
        bounds = _in_sequence if sequential else _in_all
        measured = bounds(share, float(floor), sides)
        found = FloorCheck(name, floor, measured, holding(name, floor, measured), told)
        if found.holds is None and evaluation.complete:
            law = anytime_bounds if sequential else proportion_bounds
            return replace(found, remedy=share.remedy(floor, lambda k, n: law(k, n, *sides)))
        return found

    return check


class _Share:
    """The samples of an arm as yes, no and still open, for the quantity of one floor."""

    def __init__(self, name: str, arm: Arm) -> None:
        self._name, self._outcomes = name, arm.outcomes
        self._yes, self._no = _SHARES[name]
        self._open = {PENDING, HUNTED} - self._yes - self._no

    @property
    def yes(self) -> int:
        return self._count(self._yes)

    @property
    def open(self) -> int:
        return self._count(self._open)

    @property
    def trials(self) -> int:
        return self.yes + self.open + self._count(self._no)

    def _count(self, letters: set[str]) -> int:
        return sum(self._outcomes.count(letter) for letter in letters)

    def known_in_order(self) -> Iterator[bool]:
        """One after the other, up to the first that is open."""
        for letter in self._outcomes:
            if letter in self._open:
                return
            if letter in self._yes or letter in self._no:
                yield letter in self._yes

    def remedy(self, floor: Fraction, law: Callable[[int, int], tuple[float, float]]) -> str:
        """How many samples would decide, were the share of these to be that of all."""
        share = self.yes / max(self.trials, 1)

        def enough(trials: int) -> bool:
            low, high = law(round(share * trials), trials)
            return holding(self._name, floor, _interval(low, high)) is not None

        return _advice(samples_to_decide(enough))


def _advice(count: int | None) -> str:
    if count is None:
        return "no number of samples would decide: the share lies too near to the floor"
    return f"about {count} samples would decide, were the shares to stay as they are"


def _in_all(share: _Share, floor: float, sides: tuple[float, float]) -> Interval:
    """Clopper-Pearson bounds once all is known; before that, whatever they can still become."""
    if not share.trials:
        return Interval(Fraction(0), Fraction(1))
    low = proportion_bounds(share.yes, share.trials, *sides).low
    high = proportion_bounds(share.yes + share.open, share.trials, *sides).high
    return _interval(low, high)


def _in_sequence(share: _Share, floor: float, sides: tuple[float, float]) -> Interval:
    """Anytime-valid bounds when the test ended, else now."""
    known = [*share.known_in_order()]
    ended = first_crossing(known, floor, *sides)
    if ended is not None:
        return _interval(*anytime_bounds(ended.successes, ended.trials, *sides))
    if not known:
        return Interval(Fraction(0), Fraction(1))
    return _interval(*anytime_bounds(sum(known), len(known), *sides))


def _paired(check: FloorCheck, evaluation: Evaluation, sides: tuple[float, float]) -> FloorCheck:
    """Of a difference on the same samples, once all is known."""
    past = evaluation.regression if check.name == "max_regression" else None
    if not evaluation.complete or (check.name == "max_regression" and past is None):
        return check
    trials = evaluation.pipeline.samples
    lost, won = _gained(evaluation) if past is None else (len(past.lost), len(past.won))
    measured = _interval(*difference_bounds(lost, won, trials, *sides))
    holds = holding(check.name, check.floor, measured)

    def enough(count: int) -> bool:
        less, more = round(lost * count / trials), round(won * count / trials)
        found = _interval(*difference_bounds(less, more, count, *sides))
        return holding(check.name, check.floor, found) is not None

    remedy = _advice(samples_to_decide(enough)) if holds is None else ""
    return replace(check, measured=measured, holds=holds, remedy=remedy)


def _gained(evaluation: Evaluation) -> tuple[int, int]:
    """Who stands with the filter alone, and who without it alone."""
    pairs = [
        (one in _STANDING, other in _STANDING)
        for one, other in zip(
            evaluation.pipeline.outcomes, evaluation.unfiltered.outcomes, strict=True
        )
    ]
    return pairs.count((True, False)), pairs.count((False, True))


def _interval(low: float, high: float) -> Interval:
    return Interval(Fraction(low), Fraction(high))
