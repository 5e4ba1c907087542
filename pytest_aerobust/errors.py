"""Every exception of the package.

::

    AerobustError                  something stands in the way of an answer
    ├── ContractError              a mark, option or argument that can't be meant
    ├── SubjectError               what is under test can't be evaluated
    │   ├── ModelError
    │   ├── FilterError
    │   └── DataError
    ├── AttackError                the attack itself broke down
    ├── ExamplesError              stored counterexamples can't be read
    ├── BaselineError              the stored baseline can't be read
    ├── MemoryFileError            the memory of attacks can't be read
    └── UndecidedError             one number was asked of an interval

    pytest.fail.Exception
    ├── FloorBroken                the verdict is `failed`
    └── Inconclusive               no floor is broken, but the evidence is void or too little

The first family is an error of the suite, the second an outcome of a test, so that
``xfail(raises=FloorBroken, strict=True)`` expects exactly one of them.
"""

from collections.abc import Iterable
from difflib import get_close_matches

import pytest


class AerobustError(Exception):
    """Base of all errors that are no verdict."""


class ContractError(AerobustError, ValueError):
    """A mark, an option or an argument that can't be meant; found before anything runs."""


class SubjectError(AerobustError, ValueError):
    """What is under test can't be evaluated."""


class ModelError(SubjectError):
    """The model refuses inputs, or answers with something that is no classification."""


class FilterError(SubjectError):
    """The filter refuses inputs, or changes their shape or dtype."""


class DataError(SubjectError):
    """Inputs or labels that don't fit the bounds, the model or each other."""


class AttackError(AerobustError, RuntimeError):
    """The attack itself broke down; this says nothing about the model."""


class ExamplesError(AerobustError, ValueError):
    """A file of counterexamples is missing, cut short, changed, or none of ours."""


class BaselineError(AerobustError, ValueError):
    """A file of baselines is cut short, changed by hand, or none of ours."""


class MemoryFileError(AerobustError, ValueError):
    """A file of the memory of attacks is cut short, changed, or none of ours."""


class UndecidedError(AerobustError, ValueError):
    """One number was asked of an arm that stopped early: its accuracy is an interval."""


class FloorBroken(pytest.fail.Exception):  # type: ignore[name-defined, misc]  # set at run time
    """A floor of the contract does not hold; adversarial examples prove it."""

    # As pytest's own outcomes: a summary line then starts with the class, not with its path.
    __module__ = "builtins"


class Inconclusive(pytest.fail.Exception):  # type: ignore[name-defined, misc]
    """No floor is broken, but the evidence is void, or too little for a verdict."""

    __module__ = "builtins"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Words for the end of an error about an unknown name: the nearest names, or all."""
    names = sorted(known)
    near = get_close_matches(str(name), names, n=3)
    return f"did you mean {_listed(near)}?" if near else f"known are {_listed(names)}"


def _listed(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "none"
