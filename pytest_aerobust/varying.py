"""Budgets drawn by Hypothesis, and the smallest of them that breaks a contract."""

from collections.abc import Callable
from dataclasses import dataclass

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given
from hypothesis import strategies as st

from pytest_aerobust.budgets import Epsilons


@dataclass(frozen=True)
class Boundary:
    """Where a contract breaks.

    Attributes:
        failing: The smallest budget found to fail; None where all that were tried hold.
        withstood: The largest budget below it that was tried and holds; None where none was.
        tried: How many budgets were measured.
    """

    failing: float | None
    withstood: float | None
    tried: int


class _FailsError(Exception):
    """Tells Hypothesis that a drawn budget breaks the contract."""


def find_boundary(budgets: Epsilons, holds: Callable[[float], bool], seed: int) -> Boundary:
    """Try the largest budget, then those that Hypothesis draws; shrink to the smallest failure.

    Args:
        budgets: The range and its grid.
        holds: Whether the contract holds at a budget; asked once for each.
        seed: Seed of the draws.
    """
    points = budgets.points()
    known: dict[int, bool] = {}

    def point_holds(index: int) -> bool:
        if index not in known:
            known[index] = holds(points[index])
        return known[index]

    last = len(points) - 1
    point_holds(last)
    _draw(last, point_holds, budgets.max_examples, seed)
    if all(known.values()):
        return Boundary(None, points[last], len(known))
    failing = _close_in(known, point_holds)
    withstood = [index for index, held in known.items() if held and index < failing]
    return Boundary(points[failing], points[max(withstood)] if withstood else None, len(known))


def _draw(last: int, point_holds: Callable[[int], bool], examples: int, seed: int) -> None:
    """Let Hypothesis draw places on the grid: integers shrink to the exact smallest failure."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, last))
    def every_budget_holds(index: int) -> None:
        if not point_holds(index):
            raise _FailsError

    try:
        every_budget_holds()
    except _FailsError:
        return


def _close_in(known: dict[int, bool], point_holds: Callable[[int], bool]) -> int:
    """The smallest failure, with the point below it tried.

    Where the draws missed the failing range (only the largest budget fails, say), Hypothesis
    has nothing to shrink: the gap down to the next known budget is halved instead.
    """
    failing = min(index for index, held in known.items() if not held)
    passing = max((index for index, held in known.items() if held and index < failing), default=-1)
    while failing - passing > 1:
        middle = (failing + passing) // 2
        if point_holds(middle):
            passing = middle
        else:
            failing = middle
    return failing
