"""One attack, chosen from the catalogue and checked against it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from pytest_aerobust.contract.arguments import is_number, is_whole
from pytest_aerobust.contract.catalogue import NORMS, NOTHING, AttackSpec, Norm, describe, find
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


NO_ATTACK = AttackChoice(NOTHING, "linf")


def no_attack(**told: Any) -> AttackChoice:
    """The choice of no attack, which takes no settings.

    Args:
        told: What was stated, by the names of a mark's arguments.

    Raises:
        ContractError: One of them is for an attack.
    """
    for name, value in told.items():
        if value is not None:
            raise ContractError(f"{name}= is for an attack, and none is stated; leave it out")
    return NO_ATTACK


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
    arguments = _merged(steps, attack_args)
    if ready is not None and arguments:
        raise ContractError(
            f"attack={spec.name} is a ready instance; give {', '.join(arguments)} to its "
            "constructor instead"
        )
    for name in arguments:
        _check_argument_name(spec, name)
    _check_strength(spec, arguments if ready is None else vars(ready))
    found = _checked_norm(spec, norm)
    if arguments.get("constraint", found) != found:
        raise ContractError(
            f"{spec.name}: constraint={arguments['constraint']!r} contradicts norm={found!r}; "
            "state the norm alone"
        )
    return AttackChoice(spec, found, arguments, ready)


def _merged(steps: int | None, attack_args: Any) -> dict[str, Any]:
    if attack_args is not None and not isinstance(attack_args, Mapping):
        raise ContractError(
            f"attack_args={attack_args!r}: expected a dict of the constructor's arguments"
        )
    # Foolbox multiplies by floats, which exact decimals refuse.
    arguments = {
        name: float(value) if isinstance(value, Decimal) else value
        for name, value in dict(attack_args or {}).items()
    }
    if steps is not None and "steps" in arguments:
        raise ContractError(
            f"steps={steps!r} and attack_args['steps']={arguments['steps']!r}: state one of them"
        )
    return arguments if steps is None else {**arguments, "steps": steps}


# Whatever Foolbox calls the number and the size of steps: none of them may be nothing.
_COUNTS = (
    "steps",
    "repeats",
    "restarts",
    "classes",
    "binary_search_steps",
    "directions",
    "candidates",
    "population",
)
_SIZES = (
    "rel_stepsize",
    "abs_stepsize",
    "stepsize",
    "max_stepsize",
    "initial_stepsize",
    "init_epsilon",
    "lr",
    "max_sigma",
    "xi",
)


def _check_argument_name(spec: AttackSpec, name: str) -> None:
    if name not in spec.arguments:
        raise ContractError(
            f"{spec.name} takes no argument {name!r}: {did_you_mean(name, spec.arguments)}"
        )


def _check_strength(spec: AttackSpec, settings: Mapping[str, Any]) -> None:
    """An attack that takes no step can only pass."""
    for name in _COUNTS:
        count = settings.get(name)
        if count is not None and (not is_whole(count) or count < 1):
            raise ContractError(
                f"{spec.name}: {name}={count!r}, expected a whole number of at least 1"
            )
    for name in _SIZES:
        size = settings.get(name)
        if size is not None and not (is_number(size) and size > 0):
            raise ContractError(f"{spec.name}: {name}={size!r}, expected a number above 0")
    momentum = settings.get("momentum")
    if momentum is not None and not (is_number(momentum) and momentum >= 0):
        raise ContractError(f"{spec.name}: momentum={momentum!r}, expected a number of at least 0")
    if "constraint" in settings and settings["constraint"] not in spec.norms:
        raise ContractError(
            f"{spec.name}: constraint={settings['constraint']!r}; state the norm instead, one of "
            f"{', '.join(spec.norms)}"
        )


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
