"""The checks that guard a pass, by name: which there are and which of them a contract turns off."""

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from pytest_aerobust.errors import ContractError, did_you_mean

Strength = Literal["standard", "thorough"]
STRENGTHS: tuple[Strength, ...] = get_args(Strength)

Waivers = tuple[tuple[str, str], ...]
"""Names of checks that are turned off, each with the reason."""

# What the answers themselves must be. Where one of these is void no witness counts either.
OF_ANSWERS = ("determinism", "batch independence", "state")
# By-products of the run, and of its clean pass.
OF_RUN = ("clean accuracy", "targets", "ties", "gradients", "candidates", "loss")
# Searches of their own on some of the samples, from cheap to dear.
OF_SEARCH = ("noise", "one step", "unbounded", "nesting", "transfer")
# Those that cost more than a fifth of the contract, and so are asked for by name.
THOROUGH = ("doubling", "black-box", "binarisation")
CHECKS = (*OF_ANSWERS, *OF_RUN, *OF_SEARCH, *THOROUGH)


def checked_waivers(value: Any) -> Waivers:
    """What a mark turns off, with the reasons.

    Args:
        value: A mapping from the name of a check to the reason; None turns off nothing.

    Raises:
        ContractError: A check that does not exist, or one without a reason.
    """
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise ContractError(
            f"waive={value!r}: expected a mapping from a check to the reason, such as "
            "{'noise': 'the model is trained on noise, see ticket 7'}"
        )
    for name, reason in value.items():
        if name not in CHECKS:
            raise ContractError(f"waive={name!r} is no check: {did_you_mean(name, CHECKS)}")
        if not isinstance(reason, str) or not reason.strip():
            raise ContractError(
                f"waive={{{name!r}: {reason!r}}}: expected the reason as text; it is kept with "
                "the result"
            )
    return tuple((name, value[name].strip()) for name in CHECKS if name in value)


def checked_strength(value: Any) -> Strength:
    """How much evidence a pass needs.

    Raises:
        ContractError: Neither ``"standard"`` nor ``"thorough"``.
    """
    if value not in STRENGTHS:
        raise ContractError(f"strength={value!r} is unknown: {did_you_mean(value, STRENGTHS)}")
    return cast("Strength", value)
