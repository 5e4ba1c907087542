"""From the choice in a contract to an attack that the engine can run."""

from importlib import import_module
from typing import Any

from pytest_aerobust.attacks.search import Search
from pytest_aerobust.attacks.stock import StockAttack
from pytest_aerobust.choice import AttackChoice
from pytest_aerobust.errors import ContractError
from pytest_aerobust.subjects.box import Box


def check_bounds(choice: AttackChoice, bounds: Box) -> None:
    """Refuse bounds that the attack can't work within.

    Raises:
        ContractError: It knows [0, 1] alone.
    """
    if choice.spec.unit_bounds and bounds.hull != (0.0, 1.0):
        raise ContractError(
            f"{choice.spec.name} works in the bounds (0, 1) alone, the contract's are {bounds}: "
            "scale the data, or choose BoundaryAttack"
        )


def build_attack(choice: AttackChoice) -> Search:
    """The attack of a choice.

    Raises:
        ContractError: Its constructor refuses the arguments, or an optional package is missing.
    """
    attack = choice.ready if choice.ready is not None else _constructed(choice)
    return attack if hasattr(attack, "search") else StockAttack(attack, choice)


def _constructed(choice: AttackChoice) -> Any:
    module, _, name = choice.spec.classes[choice.norm].rpartition(".")
    arguments = dict(choice.arguments)
    if "constraint" in choice.spec.arguments:
        arguments["constraint"] = choice.norm
    try:
        return getattr(import_module(module), name)(**arguments)
    except ImportError as error:
        raise ContractError(
            f"{choice.spec.name} needs a package that is not installed: {error}"
        ) from error
    except (TypeError, ValueError) as error:
        raise ContractError(f"attack_args={arguments!r} for {choice.spec.name}: {error}") from error
