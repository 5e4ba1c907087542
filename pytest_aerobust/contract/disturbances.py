"""Ordinary disturbances of images as data: their names, units and what a value may be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_aerobust.contract.arguments import is_number
from pytest_aerobust.errors import ContractError, did_you_mean

# One number; for a shift two, down and to the right.
Severity = tuple[float, ...]
Disturbances = tuple[tuple[str, Severity], ...]


@dataclass(frozen=True)
class Disturbance:
    """One kind of disturbance.

    Attributes:
        name: What a mark calls it.
        unit: Of its severity, for people.
        neutral: The severity that changes nothing.
        signed: Whether a severity may be below 0.
        geometric: Whether it moves pixels, which only images have.
        numbers: How many numbers its severity has.
    """

    name: str
    unit: str
    neutral: float
    signed: bool
    geometric: bool
    numbers: int = 1

    def told(self, severity: Severity) -> str:
        """Such as ``rotation 10 degrees``."""
        numbers = ", ".join(f"{number:.4g}" for number in dict.fromkeys(severity))
        return f"{self.name} {numbers} {self.unit}"


# In the order in which they are applied: what moves pixels comes before what changes them.
DISTURBANCES: Mapping[str, Disturbance] = {
    each.name: each
    for each in (
        Disturbance("rotation", "degrees", 0.0, signed=True, geometric=True),
        Disturbance("shift", "pixels", 0.0, signed=True, geometric=True, numbers=2),
        Disturbance("blur", "pixels", 0.0, signed=False, geometric=True),
        Disturbance("contrast", "times", 1.0, signed=False, geometric=False),
        Disturbance("brightness", "added", 0.0, signed=True, geometric=False),
        Disturbance("noise", "standard deviation", 0.0, signed=False, geometric=False),
    )
}


def checked_disturbances(given: Any) -> Disturbances:
    """Severities by name, in the order in which they are applied.

    Args:
        given: A mapping from a name to a number, or for ``shift`` to a pair of them (down,
            right); None disturbs nothing.

    Raises:
        ContractError: An unknown name, or a severity that can't be meant.
    """
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise ContractError(
            f"disturb={given!r}: expected severities by name, such as {{'rotation': 10}}"
        )
    for name in given:
        if name not in DISTURBANCES:
            raise ContractError(
                f"{name!r} is no disturbance: {did_you_mean(str(name), DISTURBANCES)}"
            )
    return tuple(
        (name, checked_severity(kind, given[name]))
        for name, kind in DISTURBANCES.items()
        if name in given
    )


def checked_severity(kind: Disturbance, value: Any) -> Severity:
    """One severity.

    Raises:
        ContractError: It is no finite number, or below 0 where that means nothing.
    """
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,) * kind.numbers
    if len(numbers) != kind.numbers or not all(map(is_number, numbers)):
        pair = ", or two (down, right)" if kind.numbers == 2 else ""
        raise ContractError(f"{kind.name}={value!r}: expected a finite number ({kind.unit}){pair}")
    if not kind.signed and min(numbers) < 0:
        raise ContractError(f"{kind.name}={value!r}: expected at least 0 ({kind.unit})")
    return tuple(map(float, numbers))


def disturbance_words(disturbances: Disturbances) -> str:
    """All of them, for people."""
    return ", ".join(DISTURBANCES[name].told(severity) for name, severity in disturbances)
