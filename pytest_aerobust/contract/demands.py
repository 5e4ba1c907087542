"""The arguments that the mark `robust`, `check` and `evaluate` share, and what makes them sound."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from pytest_aerobust.contract.arguments import (
    FilterGradient,
    checked_count,
    checked_filter_gradient,
    checked_statistics,
    checked_threat,
)
from pytest_aerobust.contract.catalogue import Norm, Threat
from pytest_aerobust.contract.floors import FloorArgument
from pytest_aerobust.contract.targets import Rule, checked_target
from pytest_aerobust.contract.waivers import Strength, checked_strength, checked_waivers
from pytest_aerobust.errors import ContractError, did_you_mean


class MeasurementArguments(TypedDict, total=False):
    """How something is measured; :func:`pytest_aerobust.robust` says what each of them means."""

    norm: Norm | None
    threat: Threat | None
    target: int | Mapping[int, int] | Rule | None
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    filter_gradient: FilterGradient | None
    eot: int | None
    steps: int | None
    attack_args: Mapping[str, Any] | None
    samples: int | None
    seed: int | None
    queries: int | None
    waive: Mapping[str, str] | None
    strength: Strength


class DemandArguments(MeasurementArguments, total=False):
    """The same, what varies, and what is demanded of the accuracies."""

    vary: Mapping[str, Any] | None
    min_acc: FloorArgument
    max_drop: FloorArgument
    min_gain: float | None
    max_regression: float | None
    max_target_hits: FloorArgument
    min_clean_acc: float | None
    confidence: float | None
    sequential: bool


_UNLIKE_NONE: Mapping[str, Any] = {"strength": "standard", "sequential": False}


def defaults(arguments: type) -> dict[str, Any]:
    """What each key of one of these stands for where nobody states it."""
    names = arguments.__annotations__
    return dict.fromkeys(names) | {name: _UNLIKE_NONE[name] for name in names & _UNLIKE_NONE.keys()}


def refuse_unknown(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a misspelt argument; the nearest relatives are named.

    Raises:
        ContractError: One of the given names is not known.
    """
    known = tuple(known)
    for name in given:
        if name not in known:
            raise ContractError(
                f"{function}() has no argument {name!r}: {did_you_mean(name, known)}"
            )


def checked_measurement(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a :class:`Contract` from the keys of `MeasurementArguments` but the attack's own.

    Raises:
        ContractError: An argument that can't be meant.
    """
    return {
        "target": checked_target(given["target"]),
        "threat": checked_threat(given["threat"]),
        "mean": checked_statistics("mean", given["mean"]),
        "std": checked_statistics("std", given["std"], positive=True),
        "filter_gradient": checked_filter_gradient(given["filter_gradient"]),
        "eot": checked_count("eot", given["eot"], least=1),
        "samples": checked_count("samples", given["samples"], least=1),
        "seed": checked_count("seed", given["seed"], least=0),
        "waivers": checked_waivers(given["waive"]),
        "strength": checked_strength(given["strength"]),
        "queries": checked_count("queries", given["queries"], least=1),
    }
