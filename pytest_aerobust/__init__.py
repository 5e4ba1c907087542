"""Robustness contracts for classifiers: `pytest --aerobust` proves them or shows why not.

Importing this package loads nothing else: each name comes with its first use, torch and Foolbox
with those that need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aerobust.contract.budgets import epsilons
    from pytest_aerobust.contract.mark import robust
    from pytest_aerobust.counterexamples.collector import Counterexample, Counterexamples
    from pytest_aerobust.counterexamples.replay import (
        Replayed,
        ReplayedContract,
        ReplayedExample,
        replay,
    )
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
    from pytest_aerobust.measurement.evaluate import curve, evaluate
    from pytest_aerobust.proving.check import check
    from pytest_aerobust.proving.outcome import Outcome
    from pytest_aerobust.results.arm import Arm, Interval
    from pytest_aerobust.results.curve import ArmCurve, Curve
    from pytest_aerobust.results.evaluation import Evaluation, Evidence, Memory, Queries, Regression
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


# Where each of them is: a run of pytest that uses none pays for none.
_PLACES = {
    "epsilons": "pytest_aerobust.contract.budgets",
    "robust": "pytest_aerobust.contract.mark",
    "Counterexample": "pytest_aerobust.counterexamples.collector",
    "Counterexamples": "pytest_aerobust.counterexamples.collector",
    "Replayed": "pytest_aerobust.counterexamples.replay",
    "ReplayedContract": "pytest_aerobust.counterexamples.replay",
    "ReplayedExample": "pytest_aerobust.counterexamples.replay",
    "replay": "pytest_aerobust.counterexamples.replay",
    "AerobustError": "pytest_aerobust.errors",
    "AttackError": "pytest_aerobust.errors",
    "BaselineError": "pytest_aerobust.errors",
    "ContractError": "pytest_aerobust.errors",
    "DataError": "pytest_aerobust.errors",
    "ExamplesError": "pytest_aerobust.errors",
    "FilterError": "pytest_aerobust.errors",
    "FloorBroken": "pytest_aerobust.errors",
    "Inconclusive": "pytest_aerobust.errors",
    "MemoryFileError": "pytest_aerobust.errors",
    "ModelError": "pytest_aerobust.errors",
    "SubjectError": "pytest_aerobust.errors",
    "UndecidedError": "pytest_aerobust.errors",
    "curve": "pytest_aerobust.measurement.evaluate",
    "evaluate": "pytest_aerobust.measurement.evaluate",
    "check": "pytest_aerobust.proving.check",
    "Outcome": "pytest_aerobust.proving.outcome",
    "Arm": "pytest_aerobust.results.arm",
    "Interval": "pytest_aerobust.results.arm",
    "ArmCurve": "pytest_aerobust.results.curve",
    "Curve": "pytest_aerobust.results.curve",
    "Evaluation": "pytest_aerobust.results.evaluation",
    "Evidence": "pytest_aerobust.results.evaluation",
    "Memory": "pytest_aerobust.results.evaluation",
    "Queries": "pytest_aerobust.results.evaluation",
    "Regression": "pytest_aerobust.results.evaluation",
    "load_estimator": "pytest_aerobust.subjects.stored",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
