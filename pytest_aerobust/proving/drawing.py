"""Budgets drawn by Hypothesis, and the smallest of them that breaks a contract."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from pytest_aerobust.contract.arguments import checked_eps
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.contract.vary import Strategies
from pytest_aerobust.errors import ContractError

# Draws where neither the contract nor a profile of the user's states a number.
_DRAWS = 10
# Profiles that Hypothesis loads by itself; they speak of tests that cost next to nothing.
_BUILT_IN = ("default", "ci")


@dataclass(frozen=True)
class Draws:
    """How Hypothesis draws.

    Attributes:
        seed: Seed of the draws.
        examples: How many; None asks a profile of the user's, or takes ten.
    """

    seed: int
    examples: int | None = None


@dataclass(frozen=True)
class Boundary:
    """Where a contract breaks.

    Attributes:
        failing: The smallest budget found to fail; None where all hold.
        withstood: The next smaller one, which holds; None where there is none.
        drawn: The budgets that Hypothesis drew, in its order, each once.
        measured: How many budgets were attacked with; what the others do follows from these.
    """

    failing: float | None
    withstood: float | None
    drawn: tuple[float, ...]
    measured: int


def boundary_words(boundary: Boundary, points: Sequence[float], floors: Floors) -> str:
    """How all budgets were settled, for people.

    Args:
        boundary: What was found.
        points: The budgets in question, rising.
        floors: What they must hold.
    """
    if boundary.failing is not None:
        below = (
            "every smaller budget breaks it, too"
            if boundary.withstood is None
            else f"eps={boundary.withstood:.4g} does not break it"
        )
        return (
            f"smallest failing budget: eps={boundary.failing:.4g} ({below}; "
            f"{boundary.measured} budgets attacked, these two afresh)"
        )
    span = f"eps={points[0]:.4g} to {points[-1]:.4g}"
    if floors.min_gain is not None:
        return (
            f"held at the largest budget and at {len(boundary.drawn)} that Hypothesis drew from "
            f"{span}: a gain may fail between them"
        )
    if floors.curved:
        return f"every step of the floor from {span} is settled; {boundary.measured} were attacked"
    return (
        f"the largest budget decides: the floor is one number, and whoever stands at "
        f"eps={points[-1]:.4g} stands at every smaller one, down to {points[0]:.4g}"
    )


@dataclass(frozen=True)
class Search:
    """What Hypothesis looked at beside the budget.

    Attributes:
        failing: The simplest draw that fails, by name; empty for the contract as it is stated,
            None where all hold.
        drawn: The draws, in their order, each once.
    """

    failing: Mapping[str, Any] | None
    drawn: tuple[Mapping[str, Any], ...]


def find_failure(
    strategies: Strategies, holds: Callable[[Mapping[str, Any]], bool], draws: Draws
) -> Search:
    """Look at the contract as it is stated, then at draws, and shrink what fails.

    Args:
        strategies: Of each name.
        holds: Whether the contract holds at values by name.
        draws: How Hypothesis draws.
    """
    drawn: dict[str, Mapping[str, Any]] = {}
    failing: list[Mapping[str, Any]] = []

    def check(values: Mapping[str, Any]) -> None:
        drawn.setdefault(repr(values), values)
        if not holds(values):
            failing.append(values)
            raise _FailsError

    if not holds({}):
        return Search({}, ())
    with suppress(_FailsError):
        _run(check, st.fixed_dictionaries(dict(strategies)), draws, shrink=True)
    # Hypothesis ends with the simplest failure.
    return Search(failing[-1] if failing else None, tuple(drawn.values()))


class Probe(Protocol):
    """What is asked about budgets."""

    @property
    def measured(self) -> int:
        """How many budgets were attacked with so far."""

    def known(self, eps: float) -> bool | None:
        """Whether the contract holds at a budget; None where only an attack could tell."""

    def holds(self, eps: float) -> bool:
        """The same, with an attack where it takes one."""

    def fresh(self, eps: float) -> bool:
        """The same after an attack on everybody, whatever is known."""


def find_boundary(points: Sequence[float], probe: Probe, *, nested: bool, draws: Draws) -> Boundary:
    """Look for the smallest budget that breaks a contract; the largest is always tried first.

    Args:
        points: The budgets in question, rising.
        probe: Tells which of them hold.
        nested: Whether what is withstood at a budget also settles smaller ones, so that every
            point can be settled; else only what is drawn is asked about.
        draws: How Hypothesis draws from the points.
    """
    probe.holds(points[-1])
    if nested:
        _settle(points, probe)
    drawn = _draw(points, probe.known if nested else probe.holds, draws)
    if not nested:
        _close_in(points, probe)
    failing = _confirmed(points, probe)
    if failing is None:
        return Boundary(None, points[-1], drawn, probe.measured)
    withstood = points[failing - 1] if failing else None
    return Boundary(points[failing], withstood, drawn, probe.measured)


def _settle(points: Sequence[float], probe: Probe) -> None:
    """Ask until it is known of every point below the smallest failure whether it holds.

    While nothing fails the largest open point settles most. Then one in the upper half does: a
    failure shows after a few witnesses, a budget that holds only once nearly all have faced it.
    """
    while True:
        failing = _smallest_failing(points, probe)
        below = points if failing is None else points[:failing]
        open_points = [eps for eps in below if probe.known(eps) is None]
        if not open_points:
            return
        place = -1 if failing is None else len(open_points) * 3 // 4
        probe.holds(open_points[place])


def _close_in(points: Sequence[float], probe: Probe) -> None:
    """Halve the gap between the smallest failure and what is known to hold below it."""
    failing = _smallest_failing(points, probe)
    if failing is None:
        return
    passing = max((i for i in range(failing) if probe.known(points[i])), default=-1)
    while failing - passing > 1:
        middle = (failing + passing) // 2
        if probe.holds(points[middle]):
            passing = middle
        else:
            failing = middle


def _confirmed(points: Sequence[float], probe: Probe) -> int | None:
    """The smallest failure, once it and the point below it were attacked afresh."""
    attacked: set[int] = set()
    while (failing := _smallest_failing(points, probe)) is not None:
        wanted = {failing, max(failing - 1, 0)} - attacked
        if not wanted:
            break
        for index in sorted(wanted):
            probe.fresh(points[index])
        attacked |= wanted
    return failing


def _smallest_failing(points: Sequence[float], probe: Probe) -> int | None:
    return next((i for i, eps in enumerate(points) if probe.known(eps) is False), None)


def _draw(
    points: Sequence[float], answer: Callable[[float], bool | None], draws: Draws
) -> tuple[float, ...]:
    """Let Hypothesis draw places among the points until one fails."""
    drawn: dict[float, None] = {}

    def holds(index: int) -> None:
        drawn[points[index]] = None
        if answer(points[index]) is False:
            raise _FailsError

    with suppress(_FailsError):  # the probe knows of the failure now
        _run(holds, st.integers(0, len(points) - 1), draws)
    return tuple(drawn)


def drawn_budgets(strategy: Any, draws: Draws) -> tuple[float, ...]:
    """Distinct budgets of a user's strategy, rising.

    Raises:
        ContractError: It yields something that is no budget.
    """
    found: set[float] = set()

    def collect(value: Any) -> None:
        try:
            found.add(checked_eps(value))
        except ContractError as error:
            raise ContractError(f"eps={strategy!r} drew what is no budget: {error}") from None

    _run(collect, strategy, draws)
    return tuple(sorted(found))


class _FailsError(Exception):
    """Tells Hypothesis that a drawn budget breaks the contract."""


def _run(body: Callable[[Any], None], strategy: Any, draws: Draws, *, shrink: bool = False) -> None:
    """A property of our own, which leaves one of the user's alone."""
    name = hypothesis.settings.get_current_profile_name()
    profile = hypothesis.settings.get_profile(name)
    settings = hypothesis.settings(
        profile,
        max_examples=draws.examples or (_DRAWS if name in _BUILT_IN else profile.max_examples),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )

    @hypothesis.seed(draws.seed)
    @settings
    @given(strategy)
    def drawn(value: Any) -> None:
        body(value)

    try:
        drawn()
    except Unsatisfiable as error:
        raise ContractError(f"{strategy!r} yields nothing that could be drawn") from error
