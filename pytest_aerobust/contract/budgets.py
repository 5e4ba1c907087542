"""Budgets that vary: the light value that a mark carries until Hypothesis draws from it."""

import sys
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

from pytest_aerobust.contract.arguments import checked_eps, is_number, is_whole
from pytest_aerobust.errors import ContractError

# 1/255 * 255 is not 1 in binary: a bound this close to a grid point is that grid point.
_ROUNDING = 1e-9
# Steps are read as fractions up to it: 1/255, 0.07.
_LARGEST_DENOMINATOR = 10**6


@dataclass(frozen=True)
class Epsilons:
    """A range of budgets on a grid; build one with :func:`epsilons`."""

    low: float
    high: float
    step: float
    max_examples: int | None

    def points(self) -> tuple[float, ...]:
        """All budgets of the range, rising: the grid's multiples of `step` and both ends."""
        # As the user wrote it: a float's multiples are not the floats of 2/255, 3/255 and so on.
        told = Fraction(self.step).limit_denominator(_LARGEST_DENOMINATOR)
        step = told if float(told) == self.step else Fraction(self.step)
        near = _ROUNDING * self.step
        first, last = ceil(Fraction(self.low) / step), floor(Fraction(self.high) / step)
        grid = (float(k * step) for k in range(first, last + 1))
        inside = (eps for eps in grid if self.low + near < eps < self.high - near)
        return (self.low, *inside, self.high)

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Drawn:
    """Budgets that a Hypothesis strategy of the user's own yields.

    Attributes:
        strategy: Of finite numbers of at least 0.
    """

    strategy: Any

    def __str__(self) -> str:
        return "-drawn"


Budgets = float | Epsilons | Drawn


def checked_budgets(value: Any) -> Budgets:
    """What a mark may state as `eps`.

    Raises:
        ContractError: It is no number, range or strategy.
    """
    if isinstance(value, Epsilons | Drawn):
        return value
    return Drawn(value) if is_strategy(value) else checked_eps(value)


def is_strategy(value: Any) -> bool:
    """Whether a value is a strategy of Hypothesis, which nobody needs who has not imported it."""
    strategies = sys.modules.get("hypothesis.strategies")
    return strategies is not None and isinstance(value, strategies.SearchStrategy)


def epsilons(
    low: float, high: float, step: float = 1 / 255, max_examples: int | None = None
) -> Epsilons:
    """Let Hypothesis draw the budgets of a contract between `low` and `high`.

    The largest budget always runs first. What it leaves standing stands at every smaller one, so
    where it holds a floor of one number all do; where it breaks it, the failure names the smallest
    budget on the grid that does.

    Args:
        low: Smallest budget, in the units of the data, at least 0.
        high: Largest budget, above `low`; always tried, on the grid or not.
        step: Distance of the grid's points: budgets are multiples of it, so that the
            default speaks of whole grey levels of an 8-bit image in [0, 1].
        max_examples: Budgets to draw besides the largest, at least 1; by default what the
            Hypothesis profile says that the user has loaded, or else 10.

    Raises:
        ContractError: An empty, reversed or negative range, or a step wider than it.
    """
    for name, value in (("low", low), ("high", high), ("step", step)):
        if not is_number(value):
            raise ContractError(f"epsilons({name}={value!r}): expected a finite number")
    if low < 0:
        raise ContractError(f"epsilons(low={low:g}): a budget is a radius, at least 0")
    if high <= low:
        raise ContractError(f"epsilons({low:g}, {high:g}): the range is empty; expected low < high")
    if step <= 0 or step > high - low:
        raise ContractError(
            f"epsilons(step={step:g}): expected a step above 0 and no wider than the range "
            f"{low:g}..{high:g}"
        )
    if max_examples is not None and (not is_whole(max_examples) or max_examples < 1):
        raise ContractError(f"epsilons(max_examples={max_examples!r}): expected at least 1")
    return Epsilons(float(low), float(high), float(step), max_examples)
