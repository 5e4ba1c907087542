"""From the choice in a contract to an attack that the engine can run."""

from importlib import import_module
from typing import Any

from pytest_aerobust.attacks.foolbox.wrapped import StockAttack
from pytest_aerobust.attacks.search import Search
from pytest_aerobust.contract.attack import AttackChoice
from pytest_aerobust.errors import ContractError


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
