"""What the numbers of an evaluation must hold: one number, or a curve over the budgets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from pytest_aerobust.contract.arguments import checked_eps, checked_floor
from pytest_aerobust.errors import ContractError

# The floors that may be a curve, and whether what they demand is a least or a most.
_AT_LEAST = {"min_acc": True, "max_drop": False, "max_target_hits": False}


@dataclass(frozen=True)
class Steps:
    """A floor that changes at some budgets.

    Attributes:
        name: The floor's name in the mark.
        values: Budgets, rising, each with the floor from there down to the budget before it.
    """

    name: str
    values: tuple[tuple[float, Fraction], ...]

    def at(self, eps: float) -> Fraction:
        """The floor at a budget.

        Raises:
            ContractError: The budget lies beyond the last step.
        """
        found = next((floor for edge, floor in self.values if eps <= edge), None)
        if found is None:
            raise ContractError(
                f"{self.name} says nothing of eps={eps:g}: its last step is at "
                f"{self.values[-1][0]:g}. Add a step there, or lower the budgets"
            )
        return found

    @property
    def edges(self) -> tuple[float, ...]:
        """The budgets at which it changes."""
        return tuple(edge for edge, _ in self.values)


@dataclass(frozen=True)
class Formula:
    """A floor that a function gives.

    Attributes:
        name: The floor's name in the mark.
        function: From a budget to a number.
    """

    name: str
    function: Callable[[float], Any]

    def at(self, eps: float) -> Fraction:
        """The floor at a budget.

        Raises:
            ContractError: The function raises, or gives no floor.
        """
        try:
            value = self.function(eps)
        except Exception as cause:
            raise ContractError(
                f"{self.name} raised {type(cause).__name__} at eps={eps:g}: {cause}"
            ) from cause
        floor = checked_floor(f"{self.name}(eps={eps:g})", value)
        if floor is None:
            raise ContractError(f"{self.name}(eps={eps:g}) is None: expected a number in [0, 1]")
        return floor

    @property
    def edges(self) -> tuple[float, ...]:
        """It may change everywhere."""
        return ()


Floor = Fraction | Steps | Formula
# What a mark may state as one.
FloorArgument = float | Mapping[float, float] | Callable[[float], float] | None


@dataclass(frozen=True)
class Floors:
    """The floors of a contract, numbers as exact fractions; None demands nothing.

    Attributes:
        min_acc: Least robust accuracy of the pipeline.
        max_drop: Most that the pipeline's robust accuracy may lie below its clean accuracy.
        min_gain: Least robust accuracy that the filter adds, filtered minus unfiltered.
        max_regression: Most that the pipeline's robust accuracy may lie below the baseline's.
        max_target_hits: Most attacked samples, as a share, that may reach the target.
        min_clean_acc: Least clean accuracy of the pipeline.
    """

    min_acc: Floor | None = None
    max_drop: Floor | None = None
    min_gain: Floor | None = None
    max_regression: Floor | None = None
    max_target_hits: Floor | None = None
    min_clean_acc: Floor | None = None

    def __iter__(self) -> Iterator[tuple[str, Floor]]:
        named = ((f.name, getattr(self, f.name)) for f in fields(self))
        return ((name, floor) for name, floor in named if floor is not None)

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def or_else(self, defaults: "Floors") -> "Floors":
        """Each of these floors that is stated, else that of the defaults."""
        return Floors(**{**dict(defaults), **dict(self)})

    def at(self, eps: float) -> dict[str, Fraction]:
        """What each stated floor is at one budget.

        Raises:
            ContractError: A curve says nothing of this budget.
        """
        return {
            name: floor.at(eps) if isinstance(floor, Steps | Formula) else floor
            for name, floor in self
        }

    @property
    def curved(self) -> bool:
        """Whether any of them depends on the budget."""
        return any(isinstance(floor, Steps | Formula) for _, floor in self)

    @property
    def edges(self) -> tuple[float, ...]:
        """The budgets at which one of them changes."""
        return tuple(
            edge for _, floor in self if isinstance(floor, Steps | Formula) for edge in floor.edges
        )

    def check_curves(self, points: Sequence[float]) -> None:
        """Refuse a curve that says nothing of a budget, or demands more of larger ones.

        Args:
            points: The budgets in question, rising.

        Raises:
            ContractError: With the budgets between which it turns the wrong way.
        """
        for name, floor in self:
            if isinstance(floor, Steps | Formula):
                _check_direction(name, points, [floor.at(eps) for eps in points])


FLOOR_NAMES = tuple(f.name for f in fields(Floors))


def checked_floors(given: Mapping[str, Any]) -> Floors:
    """The floors of a mark.

    Args:
        given: Arguments by name, those of all floors among them.

    Raises:
        ContractError: One that is no floor.
    """
    return Floors(**{name: _checked(name, given[name]) for name in FLOOR_NAMES})


def _checked(name: str, value: Any) -> Any:
    curve = isinstance(value, Mapping) or callable(value)
    if curve and name not in _AT_LEAST:
        raise ContractError(
            f"{name}={value!r}: expected one number; floors that may be a curve are "
            f"{', '.join(_AT_LEAST)}"
        )
    if isinstance(value, Mapping):
        return _steps(name, value)
    return Formula(name, value) if curve else checked_floor(name, value)


def _steps(name: str, given: Mapping[Any, Any]) -> Steps:
    if not given:
        raise ContractError(f"{name}={{}} is empty: expected floors by budget, as in {{0.1: 0.9}}")
    values = []
    for edge, value in given.items():
        floor = checked_floor(name, value)
        if floor is None:
            raise ContractError(f"{name}={{{edge!r}: None}}: expected a number in [0, 1]")
        values.append((checked_eps(edge), floor))
    values.sort()
    _check_direction(name, [edge for edge, _ in values], [floor for _, floor in values])
    return Steps(name, tuple(values))


def _check_direction(name: str, points: Sequence[float], floors: Sequence[Fraction]) -> None:
    """A larger budget can't leave more survivors, so a floor that asks for more is a mistake."""
    sign = 1 if _AT_LEAST[name] else -1
    for index in range(1, len(points)):
        if sign * floors[index] > sign * floors[index - 1]:
            raise ContractError(
                f"{name} demands more of a larger budget: {float(floors[index - 1]):g} at "
                f"eps={points[index - 1]:g} and {float(floors[index]):g} at eps={points[index]:g}. "
                "Accuracy never rises with the budget: swap them"
            )
