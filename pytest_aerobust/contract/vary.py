"""What a mark lets Hypothesis vary beside the budget: names, and what may stand for each."""

from collections.abc import Mapping
from typing import Any

from pytest_aerobust.contract.budgets import is_strategy
from pytest_aerobust.contract.catalogue import AttackSpec
from pytest_aerobust.contract.disturbances import DISTURBANCES
from pytest_aerobust.errors import ContractError, did_you_mean

# Settings of the attack, and what happens to the inputs before it.
OF_THE_ATTACK = ("steps", "target", "seed")
NAMES = (*OF_THE_ATTACK, *DISTURBANCES)

Strategies = tuple[tuple[str, Any], ...]
"""Names, each with a Hypothesis strategy of its values."""


def checked_vary(value: Any) -> Strategies:
    """What a mark varies.

    Args:
        value: A mapping from names to strategies; None varies nothing.

    Raises:
        ContractError: An unknown name, or something that is no strategy.
    """
    if value is None:
        return ()
    if not isinstance(value, Mapping) or not value:
        raise ContractError(
            f"vary={value!r}: expected Hypothesis strategies by name, such as "
            "{'rotation': st.floats(-15, 15)}"
        )
    for name, strategy in value.items():
        if name not in NAMES:
            raise ContractError(f"vary={name!r} is unknown: {did_you_mean(str(name), NAMES)}")
        if not is_strategy(strategy):
            raise ContractError(
                f"vary={{{name!r}: {strategy!r}}}: expected a Hypothesis strategy, such as "
                "st.integers(5, 40)"
            )
    return tuple((name, value[name]) for name in NAMES if name in value)


def check_fit(vary: Strategies, spec: AttackSpec, ready: bool) -> None:
    """Refuse to vary what the attack does not have.

    Raises:
        ContractError: Steps or a target of an attack without.
    """
    names = [name for name, _ in vary]
    if "steps" in names and (ready or "steps" not in spec.arguments):
        raise ContractError(f"vary= states steps, but {spec.name} takes none")
    if "target" in names and spec.target == "no":
        raise ContractError(f"vary= states a target, but {spec.name} takes none")


def draw_words(values: Mapping[str, Any]) -> str:
    """One draw for people, such as ``rotation 8 degrees, steps 12``."""
    return ", ".join(_one(name, value) for name, value in values.items()) or "as stated"


def _one(name: str, value: Any) -> str:
    if name not in DISTURBANCES:
        return f"{name} {value}"
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    return DISTURBANCES[name].told(numbers)
