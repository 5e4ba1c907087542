"""Robustness contracts for classifiers: `pytest --aerobust` proves them or shows why not.

Importing this package loads neither torch nor Foolbox: what is heavy comes with the first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_aerobust.contract.budgets import epsilons
from pytest_aerobust.contract.mark import robust
from pytest_aerobust.errors import (
    AerobustError,
    AttackError,
    BaselineError,
    ContractError,
    DataError,
    ExamplesError,
    FilterError,
    FloorBroken,
    Inconclusive,
    MemoryFileError,
    ModelError,
    SubjectError,
    UndecidedError,
)
from pytest_aerobust.results.arm import Arm, Interval
from pytest_aerobust.results.curve import ArmCurve, Curve
from pytest_aerobust.results.evaluation import Evaluation, Evidence, Memory, Queries, Regression

if TYPE_CHECKING:
    from pytest_aerobust.counterexamples.collector import Counterexample, Counterexamples
    from pytest_aerobust.counterexamples.replay import (
        Replayed,
        ReplayedContract,
        ReplayedExample,
        replay,
    )
    from pytest_aerobust.measurement.evaluate import curve, evaluate
    from pytest_aerobust.proving.check import check
    from pytest_aerobust.proving.outcome import Outcome
    from pytest_aerobust.subjects.stored import load_estimator

__version__ = "0.1.0"

__all__ = [
    "AerobustError",
    "Arm",
    "ArmCurve",
    "AttackError",
    "BaselineError",
    "ContractError",
    "Counterexample",
    "Counterexamples",
    "Curve",
    "DataError",
    "Evaluation",
    "Evidence",
    "ExamplesError",
    "FilterError",
    "FloorBroken",
    "Inconclusive",
    "Interval",
    "Memory",
    "MemoryFileError",
    "ModelError",
    "Outcome",
    "Queries",
    "Regression",
    "Replayed",
    "ReplayedContract",
    "ReplayedExample",
    "SubjectError",
    "UndecidedError",
    "check",
    "curve",
    "epsilons",
    "evaluate",
    "load_estimator",
    "replay",
    "robust",
]


# What needs torch or skops, and where it is.
_HEAVY = {
    "check": "pytest_aerobust.proving.check",
    "curve": "pytest_aerobust.measurement.evaluate",
    "Outcome": "pytest_aerobust.proving.outcome",
    "evaluate": "pytest_aerobust.measurement.evaluate",
    "load_estimator": "pytest_aerobust.subjects.stored",
    "Counterexample": "pytest_aerobust.counterexamples.collector",
    "Counterexamples": "pytest_aerobust.counterexamples.collector",
    "replay": "pytest_aerobust.counterexamples.replay",
    "Replayed": "pytest_aerobust.counterexamples.replay",
    "ReplayedContract": "pytest_aerobust.counterexamples.replay",
    "ReplayedExample": "pytest_aerobust.counterexamples.replay",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in _HEAVY:
        return getattr(import_module(_HEAVY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
