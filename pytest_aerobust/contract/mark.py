"""The mark `robust`: from what a test says to the contracts that it states."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Unpack, cast

import pytest

from pytest_aerobust.contract.arguments import (
    checked_confidence,
    checked_feature_bounds,
    checked_fixture,
    checked_mutable,
    checked_switch,
)
from pytest_aerobust.contract.attack import chosen, no_attack
from pytest_aerobust.contract.budgets import checked_budgets
from pytest_aerobust.contract.catalogue import NOTHING
from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.demands import (
    DemandArguments,
    checked_measurement,
    defaults,
    refuse_unknown,
)
from pytest_aerobust.contract.disturbances import DISTURBANCES
from pytest_aerobust.contract.floors import checked_floors
from pytest_aerobust.contract.vary import checked_vary
from pytest_aerobust.errors import ContractError


@dataclass(frozen=True)
class Case:
    """One contract as one test item: with its id and the marks that it carries."""

    contract: Contract
    id: str
    marks: tuple[Any, ...] = ()


def robust(
    attack: Any = None,
    eps: Any = None,
    *,
    model: str = "aerobust_model",
    data: str = "aerobust_data",
    filter: str | None = "aerobust_filter",
    bounds: Any = None,
    mutable: Any = "aerobust_mutable",
    marks: Any = (),
    id: str | None = None,
    **demands: Unpack[DemandArguments],
) -> pytest.MarkDecorator:
    """State how much attack the pipeline must withstand.

    Works on functions, on classes and, as ``pytestmark = robust(...)``, on modules; stacked
    marks and lists of attacks or budgets give one test item each.

    Args:
        attack: Name of an attack (``"bim"``), an instance of a Foolbox attack, or a list.
        eps: Budget in the units of the data: a number of at least 0, a list of numbers
            (each may be a ``pytest.param`` with marks), :func:`epsilons`, or a Hypothesis
            strategy of such numbers.
        model: Name of the fixture that gives the model.
        data: Name of the fixture that gives inputs and labels.
        filter: Name of the fixture that gives the filter; None tests the bare model.
        bounds: Smallest and largest value of an input; the fixture's by default. Either may be
            an array of one number a feature, or of any shape that broadcasts to a sample's, such
            as ``(C, 1, 1)``.
        mutable: Which features the attacker may change: an array of booleans that broadcasts to a
            sample's shape, or the name of the fixture that gives it. None lets all change.
        marks: Mark or marks for the items of this contract, such as ``pytest.mark.xfail``.
        id: Id of the item, for a contract that gives only one.
        demands: How it is measured, and what is demanded; a misspelt argument is named with its
            nearest relative.

    Keyword Args:
        vary: What Hypothesis varies, by name, as strategies: ``steps``, ``target`` and ``seed`` of
            the attack, and ordinary disturbances of the images before it: ``rotation`` (degrees,
            counter-clockwise), ``shift`` (pixels, or pairs down and right), ``blur`` (standard
            deviation in pixels), ``contrast`` (times, about the image's mean), ``brightness``
            (added, in the units of the data), ``noise`` (standard deviation, likewise). The floors
            hold at every draw; what fails is shrunk. Without attack and eps the disturbances alone
            are looked at.
        norm: Norm of the budget's ball; the attack's own by default (Linf for the plain names).
        threat: What the attacker knows: ``"white-box"``, ``"gray-box"`` or ``"black-box"``;
            by default white-box for attacks that use gradients, black-box for the others.
            ``"behind-filter"`` adds the perturbation to the filter's output, to reproduce papers.
        target: What the attacker wants to see: a class; a mapping class to class (the samples
            of classes that it leaves out are not attacked); ``"natural"``, each class goes to
            what it is most often mistaken for under the untargeted attack on the bare model;
            ``"non-natural"``, to what it is least often mistaken for. Untargeted by default.
        min_acc: Least robust accuracy, in [0, 1]; also a curve over the budgets: a mapping such
            as ``{0.1: 0.95, 0.2: 0.9}``, whose floors reach from each budget down to the one
            before it, or a function of the budget.
        max_drop: Most that robust accuracy may lie below clean accuracy, in [0, 1], or a curve.
        min_gain: Least robust accuracy that the filter must add, in [-1, 1].
        max_regression: Most robust accuracy, in [0, 1], that may be lost since the baseline,
            which ``pytest --aerobust --aerobust-update`` stores.
        max_target_hits: Largest share of the attacked samples that may reach the target, or a
            curve.
        min_clean_acc: Least accuracy before any attack, in [0, 1].
        mean: Subtracted in front of the model, one number or one a channel, so that eps and
            bounds stay in the units of the data.
        std: Divides what is left, likewise.
        filter_gradient: How gradients pass the filter: ``"exact"``, by its own gradient;
            ``"identity"``, forward through the filter and backward as if it were the identity
            (BPDA: Athalye et al. 2018). By default exact, and the identity, with a note, where
            the filter has no gradient or one that is zero for every sample.
        eot: For filters and models that draw random numbers: the attack follows the mean of so
            many answers, at least 1, and the mean of as many fresh ones is judged (expectation
            over transformation: Athalye et al. 2018).
        steps: Steps of the attack, where it has steps.
        attack_args: Further arguments for the attack's constructor.
        samples: Draw this many samples, stratified by label; all by default.
        seed: Seed of random starts and draws.
        queries: Most answers of the pipeline for one sample, at least 1, starting points and line
            searches included; for the attacks that ask without gradients. No limit by default.
        confidence: Least probability, in (0, 1), that the verdict is right for the population
            that the samples were drawn from: a contract passes or fails only where exact bounds
            (Clopper-Pearson) clear its floors, and is inconclusive otherwise. By default the
            samples at hand are judged.
        sequential: Look at the samples in seeded random order and stop as soon as an
            anytime-valid test knows as much; needs `confidence`. All samples take fewer where the
            accuracy is far from the floor, and say more where it is near.
        waive: Checks of the evidence that are turned off, each with the reason, which is kept with
            the result: ``{"noise": "trained on noise, see ticket 7"}``.
        strength: How much evidence a pass needs: ``"standard"``, at most a fifth of the attack's
            own cost, or ``"thorough"``, which adds dearer checks.

    Raises:
        ContractError: An argument that can't be meant; the message names it, what came and
            what was expected.
    """
    __tracebackhide__ = True  # pytest then shows the line of the mark, not ours
    own = {name: value for name, value in locals().items() if name in _OWN}
    given = {**own, **demands}
    demanded = {
        name: value
        for name, value in given.items()
        if name not in _DEFAULTS or value is not _DEFAULTS[name]
    }
    try:
        cases(**demanded)
    except ContractError as error:
        raise error.with_traceback(None) from None
    if _unguarded():
        return pytest.mark.skip(reason=_UNGUARDED)
    mark: pytest.MarkDecorator = pytest.mark.robust(**demanded)
    return mark


_UNGUARDED = (
    "a robustness contract, but pytest runs without the plugin that checks it: allow its "
    "autoload, or load it with -p pytest_aerobust.plugin"
)


def _unguarded() -> bool:
    """Whether pytest runs and has not loaded the plugin: an unchecked mark would pass."""
    return "PYTEST_VERSION" in os.environ and "pytest_aerobust.plugin" not in sys.modules


# The arguments of a mark that nothing else has, and all of them.
_OWN: Mapping[str, Any] = {"attack": None, "eps": None, **(robust.__kwdefaults__ or {})}
_DEFAULTS: Mapping[str, Any] = {**_OWN, **defaults(DemandArguments)}


def cases(*positional: Any, **named: Any) -> list[Case]:
    """The cases that the arguments of one mark state, in the order of its lists.

    Raises:
        ContractError: As :func:`robust`.
    """
    given = _bound(positional, named)
    shared = {
        **checked_measurement(given),
        "floors": checked_floors(given),
        "model": checked_fixture("model", given["model"]),
        "data": checked_fixture("data", given["data"]),
        "filter": checked_fixture("filter", given["filter"], optional=True),
        "bounds": None if given["bounds"] is None else checked_feature_bounds(given["bounds"]),
        "mutable": checked_mutable(given["mutable"]),
        "vary": checked_vary(given["vary"]),
        "confidence": checked_confidence(given["confidence"]),
        "sequential": checked_switch("sequential", given["sequential"]),
    }
    marks = _checked_marks(given["marks"])
    found = []
    for attack, eps in product(
        _unpacked("attack", given["attack"]), _unpacked("eps", given["eps"])
    ):
        choice = (
            no_attack(**{name: given[name] for name in ("norm", "steps", "attack_args", "queries")})
            if attack.value is NOTHING
            else chosen(attack.value, given["norm"], given["steps"], given["attack_args"])
        )
        contract = Contract(choice, checked_budgets(eps.value), **shared)
        contract.check()
        own = contract.named(
            attack.id or contract.attack.spec.name, eps.id or f"eps{contract.eps_text}"
        )
        name = given["id"] or own
        found.append(Case(contract, name, (*marks, *attack.marks, *eps.marks)))
    if given["id"] is not None and len(found) > 1:
        raise ContractError(
            f"id={given['id']!r} names one item, but the lists give {len(found)}; "
            "leave it out, or use pytest.param(..., id=...) in the list"
        )
    return found


def _bound(positional: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a mark by name, also where it was written as pytest.mark.robust(...)."""
    if len(positional) > 2:
        raise ContractError(
            f"robust() takes attack and eps by position, but {len(positional)} came; "
            "name the others"
        )
    stated = {**dict(zip(("attack", "eps"), positional, strict=False)), **named}
    refuse_unknown("robust", stated, _DEFAULTS)
    given = {**_DEFAULTS, **stated}
    vary = dict(checked_vary(given["vary"]))
    if vary.keys() & DISTURBANCES.keys() and not {"attack", "eps"} & stated.keys():
        return given | {"attack": NOTHING, "eps": 0.0}
    for name in ("attack", "eps"):
        if name not in stated:
            raise ContractError(
                f"robust() needs {name}, as in robust(attack='bim', eps=0.3, min_acc=0.9)"
            )
    return given


@dataclass(frozen=True)
class _Entry:
    value: Any
    marks: tuple[Any, ...] = ()
    id: str | None = None


_ParameterSet = type(pytest.param())


def _unpacked(name: str, value: Any) -> list[_Entry]:
    """The entries of a list, or the one value; each may be a pytest.param."""
    entries = list(value) if isinstance(value, list | tuple) and not _is_param(value) else [value]
    if not entries:
        raise ContractError(f"{name}=[] is empty: nothing would be tested; expected at least one")
    return [_entry(name, entry) for entry in entries]


def _is_param(value: Any) -> bool:
    return isinstance(value, _ParameterSet)


def _entry(name: str, value: Any) -> _Entry:
    if not _is_param(value):
        return _Entry(value)
    if len(value.values) != 1:
        raise ContractError(f"{name}={value!r}: expected pytest.param with one value")
    return _Entry(value.values[0], tuple(value.marks), cast("str | None", value.id))


def _checked_marks(marks: Any) -> tuple[Any, ...]:
    found = tuple(marks) if isinstance(marks, list | tuple) else (marks,)
    if not all(isinstance(mark, pytest.Mark | pytest.MarkDecorator) for mark in found):
        raise ContractError(
            f"marks={marks!r}: expected pytest marks, such as pytest.mark.xfail, or a list of them"
        )
    return found
