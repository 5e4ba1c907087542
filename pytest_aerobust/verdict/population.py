"""Floors held against the population that the samples were drawn from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from itertools import starmap
from typing import TypeVar

from pytest_aerobust.results.arm import (
    AT_TARGET,
    BEATEN,
    EXEMPT,
    FELL,
    HUNTED,
    NEAR_TARGET,
    PENDING,
    SURVIVED,
    UNDECIDED,
    WRONG,
    Arm,
    Interval,
)
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.verdict.judge import (
    ANYTHING,
    QUANTITIES,
    Check,
    FloorCheck,
    about_baseline,
    holding,
)
from pytest_aerobust.verdict.statistics import (
    anytime_bounds,
    difference_bounds,
    first_crossing,
    proportion_bounds,
    samples_to_decide,
)

_STANDING, _FALLEN = {SURVIVED, EXEMPT}, {BEATEN, AT_TARGET, HUNTED, NEAR_TARGET, FELL}

# Of which samples each floor's quantity is the share: letters that count, letters that do not.
# Whoever is neither has no part in it; who is pending may still be either.
_SHARES: dict[str, tuple[set[str], set[str]]] = {
    "min_clean_acc": ({*_STANDING, *_FALLEN, PENDING, UNDECIDED}, {WRONG}),
    "min_acc": (_STANDING, {*_FALLEN, WRONG}),
    "max_drop": (_FALLEN, {*_STANDING, WRONG}),
    "max_target_hits": ({AT_TARGET}, {SURVIVED, BEATEN}),
}


# Whose outcome rests on the clean answer, where rounding decides that.
_ON_CLEAN = {"min_acc": {WRONG}, "max_drop": {WRONG, *_FALLEN}}

# What any share can be, and by how much, at least, a test in sequence is off its threshold.
_SHARE, _BEYOND = Interval(Fraction(0), Fraction(1)), Fraction(1, 10**12)

_T = TypeVar("_T")


class _State(Enum):
    """What a sample is in a share."""

    YES = "it counts"
    NO = "it does not"
    PENDING = "it is not known yet"
    UNDECIDED = "a tie or rounding decides"
    NEITHER = "it has no part in it"


_OPEN = {
    PENDING: _State.PENDING,
    HUNTED: _State.PENDING,
    UNDECIDED: _State.UNDECIDED,
    NEAR_TARGET: _State.UNDECIDED,
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


def about_population(
    confidence: Fraction, floors: int, firsts: Sequence[int], *, sequential: bool = False
) -> Check:
    """A check of floors that takes the distinct samples as a draw from a population.

    Args:
        confidence: Least probability, in [0.5, 1), that a verdict other than inconclusive is right.
        floors: How many floors the contract has.
        firsts: Of each sample the place of the first with the same inputs. In sequence that one
            speaks for its copies, and comes before all of them; else the worst of them does.
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
            unknown = FloorCheck(name, floor, ANYTHING, None, told)
            return _paired(unknown, evaluation, sides, firsts)
        share = _Share(name, evaluation.pipeline, firsts, merged=not sequential)
        bounds = _in_sequence if sequential else _in_all
        measured = bounds(share, floor, sides)
        found = FloorCheck(name, floor, measured, holding(name, floor, measured), told)
        if found.holds is None and evaluation.complete:
            law = anytime_bounds if sequential else proportion_bounds
            remedy = share.remedy(floor, lambda k, n: law(k, n, *sides))
            return replace(found, remedy="; ".join([*share.undecided, remedy]))
        return found

    return check


class _Share:
    """The samples of an arm as yes, no and still open, for the quantity of one floor."""

    def __init__(self, name: str, arm: Arm, firsts: Sequence[int], *, merged: bool) -> None:
        self._name = name
        yes, no = _SHARES[name]
        unsure = set(arm.unsure)

        def state(place: int, letter: str) -> _State:
            if place in unsure and (name == "min_clean_acc" or letter in _ON_CLEAN.get(name, ())):
                return _State.UNDECIDED
            if letter in yes or letter in no:
                return _State.YES if letter in yes else _State.NO
            return _OPEN.get(letter, _State.NEITHER)

        states = [*starmap(state, enumerate(arm.outcomes))]
        worst_first = [_State.NO, _State.PENDING, _State.UNDECIDED, _State.YES, _State.NEITHER]
        if not QUANTITIES[name].at_least:
            worst_first[0], worst_first[3] = _State.YES, _State.NO
        copies = _by_first(states, firsts)
        self._states = [min(each, key=worst_first.index) if merged else each[0] for each in copies]

    @property
    def yes(self) -> int:
        return self._states.count(_State.YES)

    @property
    def open(self) -> int:
        return self._states.count(_State.PENDING) + self._states.count(_State.UNDECIDED)

    @property
    def undecided(self) -> list[str]:
        """How many samples a tie or rounding decides, in words; none where there are none."""
        count = self._states.count(_State.UNDECIDED)
        return [f"{count} samples are undecided (see the notes)"] if count else []

    @property
    def trials(self) -> int:
        return self.yes + self.open + self._states.count(_State.NO)

    def known_in_order(self, undecided: bool) -> Iterator[bool]:
        """One after the other, up to the first that is not known yet.

        Args:
            undecided: What the undecided are taken for.
        """
        told = {_State.YES: True, _State.NO: False, _State.UNDECIDED: undecided}
        for state in self._states:
            if state is _State.PENDING:
                return
            if state in told:
                yield told[state]

    def remedy(self, floor: Fraction, law: Callable[[int, int], tuple[float, float]]) -> str:
        """How many samples would decide, were the share of these to be that of all."""
        share = self.yes / max(self.trials, 1)

        def enough(trials: int) -> bool:
            low, high = law(round(share * trials), trials)
            return holding(self._name, floor, _interval(low, high)) is not None

        return _advice(samples_to_decide(enough, beyond=self.trials))


def _by_first(values: Sequence[_T], firsts: Sequence[int]) -> list[list[_T]]:
    """The values of each distinct sample's copies, its own first."""
    copies: dict[int, list[_T]] = {}
    for value, first in zip(values, firsts, strict=True):
        copies.setdefault(first, []).append(value)
    return [*copies.values()]


def _advice(count: int | None) -> str:
    if count is None:
        return "no number of samples would decide: the share lies too near to the floor"
    return f"about {count} samples would decide, were the shares to stay as they are"


def _in_all(share: _Share, floor: Fraction, sides: tuple[float, float]) -> Interval:
    """Clopper-Pearson bounds once all is known; before that, whatever they can still become."""
    if not share.trials:
        return _SHARE
    low = proportion_bounds(share.yes, share.trials, *sides).low
    high = proportion_bounds(share.yes + share.open, share.trials, *sides).high
    return _interval(low, high)


def _in_sequence(share: _Share, floor: Fraction, sides: tuple[float, float]) -> Interval:
    """Anytime-valid bounds when the test ended, else now; whatever the undecided are."""
    low, _ = _one_sequence([*share.known_in_order(undecided=False)], floor, sides)
    _, high = _one_sequence([*share.known_in_order(undecided=True)], floor, sides)
    return Interval(low, high)


def _one_sequence(known: list[bool], floor: Fraction, sides: tuple[float, float]) -> Interval:
    ended = first_crossing(known, float(floor), *sides)
    if ended is None:
        return _interval(*anytime_bounds(sum(known), len(known), *sides)) if known else _SHARE
    low, high = _interval(*anytime_bounds(ended.successes, ended.trials, *sides))
    # What the test has shown is not taken back by the rounding of its bounds.
    if ended.above:
        return Interval(max(low, floor + _BEYOND), high)
    return Interval(low, min(high, floor - _BEYOND))


def _paired(
    check: FloorCheck,
    evaluation: Evaluation,
    sides: tuple[float, float],
    firsts: Sequence[int],
) -> FloorCheck:
    """Of a difference on the same samples, once all is known."""
    past = evaluation.regression if check.name == "max_regression" else None
    if not evaluation.complete or (check.name == "max_regression" and past is None):
        return check
    trials = len({*firsts})
    pairs = _gained(evaluation, firsts) if past is None else (past.distinct[:2], past.distinct[2:])

    def bounds(count: int) -> Interval:
        shares = [[round(part * count / trials) for part in pair] for pair in pairs]
        at_least, at_most = (difference_bounds(one, other, count, *sides) for one, other in shares)
        return _interval(at_least[0], at_most[1])

    measured = bounds(trials)
    holds = holding(check.name, check.floor, measured)

    def enough(count: int) -> bool:
        return holding(check.name, check.floor, bounds(count)) is not None

    remedy = _advice(samples_to_decide(enough, beyond=trials)) if holds is None else ""
    return replace(check, measured=measured, holds=holds, remedy=remedy)


_Pair = tuple[int, int]


def _gained(evaluation: Evaluation, firsts: Sequence[int]) -> tuple[_Pair, _Pair]:
    """Who stands with the filter alone, and who without it alone: at least, and at most."""
    filtered, bare = (
        [[all(copies) for copies in _by_first(stands, firsts)] for stands in _standings(arm)]
        for arm in (evaluation.pipeline, evaluation.unfiltered)
    )
    return _apart(filtered[0], bare[1]), _apart(filtered[1], bare[0])


def _standings(arm: Arm) -> tuple[list[bool], list[bool]]:
    """Who stands, where the undecided do not, and where they do."""
    unsure = set(arm.unsure)
    pairs = [
        (
            letter in _STANDING,
            letter in {*_STANDING, UNDECIDED} or (letter == WRONG and place in unsure),
        )
        for place, letter in enumerate(arm.outcomes)
    ]
    return [least for least, _ in pairs], [most for _, most in pairs]


def _apart(ones: list[bool], others: list[bool]) -> _Pair:
    pairs = [*zip(ones, others, strict=True)]
    return pairs.count((True, False)), pairs.count((False, True))


def _interval(low: float, high: float) -> Interval:
    return Interval(Fraction(low), Fraction(high))
