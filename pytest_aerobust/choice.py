"""One attack, chosen from the catalogue and checked against it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pytest_aerobust.arguments import is_number, is_whole
from pytest_aerobust.catalogue import NORMS, AttackSpec, Norm, describe, find
from pytest_aerobust.errors import ContractError, did_you_mean


@dataclass(frozen=True)
class AttackChoice:
    """One attack, chosen and checked: its row, its norm, and what its constructor is told.

    Attributes:
        spec: The row of the catalogue.
        norm: One of the row's norms.
        arguments: For the constructor; empty for a ready attack.
        ready: An instance that the user built, taken as it is.
    """

    spec: AttackSpec
    norm: Norm
    arguments: Mapping[str, Any] = field(default_factory=dict)
    ready: Any = None

    @property
    def label(self) -> str:
        return f"{self.spec.title} {self.norm.capitalize()}"


def chosen(
    attack: Any, norm: Any, steps: int | None, attack_args: Mapping[str, Any] | None
) -> AttackChoice:
    """An attack with its norm and arguments, checked against the catalogue.

    Raises:
        ContractError: An unknown name, norm or argument, or a value without sense.
    """
    if isinstance(attack, str):
        spec, ready = find(attack), None
    else:
        spec, ready = describe(attack), attack
    arguments = dict(attack_args or {})
    if steps is not None:
        arguments["steps"] = steps
    if ready is not None and arguments:
        raise ContractError(
            f"attack={spec.name} is a ready instance; give {', '.join(arguments)} to its "
            "constructor instead"
        )
    for name in arguments:
        _check_argument_name(spec, name)
    settings = arguments if ready is None else vars(ready)
    _check_strength(spec, settings)
    return AttackChoice(spec, _checked_norm(spec, norm), arguments, ready)


def _check_argument_name(spec: AttackSpec, name: str) -> None:
    if name not in spec.arguments:
        raise ContractError(
            f"{spec.name} takes no argument {name!r}: {did_you_mean(name, spec.arguments)}"
        )


def _check_strength(spec: AttackSpec, settings: Mapping[str, Any]) -> None:
    """An attack that takes no step can only pass."""
    steps = settings.get("steps")
    if steps is not None and (not is_whole(steps) or steps < 1):
        raise ContractError(f"{spec.name}: steps={steps!r}, expected a whole number of at least 1")
    for name in ("rel_stepsize", "abs_stepsize", "stepsize"):
        size = settings.get(name)
        if size is not None and not (is_number(size) and size > 0):
            raise ContractError(f"{spec.name}: {name}={size!r}, expected a number above 0")


def _checked_norm(spec: AttackSpec, norm: Any) -> Norm:
    if norm is None:
        return spec.default_norm
    if norm not in NORMS:
        raise ContractError(f"norm={norm!r} is unknown: {did_you_mean(norm, NORMS)}")
    if norm not in spec.norms:
        raise ContractError(
            f"attack={spec.name!r} has no norm {norm!r}; it works in {', '.join(spec.norms)}"
        )
    return cast("Norm", norm)
