"""The engine without pytest: numbers of one model, without a demand."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from pytest_aerobust.contract.arguments import checked_eps
from pytest_aerobust.contract.attack import chosen, no_attack
from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.demands import (
    MeasurementArguments,
    checked_measurement,
    defaults,
    refuse_unknown,
)
from pytest_aerobust.contract.disturbances import checked_disturbances
from pytest_aerobust.counterexamples.collector import Counterexamples, OnExamples, unseen
from pytest_aerobust.errors import ContractError
from pytest_aerobust.measurement.binding import Parts, bound_subject
from pytest_aerobust.measurement.campaign import Campaign, checked_points
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.results.curve import Curve
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.subjects.data import read_samples

_DEFAULTS = defaults(MeasurementArguments)


def evaluate(
    model: Any,
    data: Any,
    *,
    attack: Any = None,
    eps: float = 0.0,
    filter: Any = None,
    unfiltered_model: Any = None,
    bounds: Any = (0.0, 1.0),
    mutable: Any = None,
    disturb: Mapping[str, float | tuple[float, float]] | None = None,
    device: str | None = None,
    on_examples: OnExamples | None = None,
    **conditions: Unpack[MeasurementArguments],
) -> Evaluation:
    """Attack a model with and without a filter and count who survives; pytest not needed.

    Args:
        model: A torch or Lightning module from inputs ``(N, ...)`` to logits ``(N, K)``, a fitted
            scikit-learn classifier (one that is neither linear nor an MLP: under ``black-box``
            alone), or a ready ``foolbox.Model``.
        data: ``(inputs, labels)``, a Dataset, a DataLoader or a LightningDataModule.
        attack: Name of an attack, or an instance of a Foolbox attack; None where `disturb` alone
            is looked at.
        eps: Budget in the units of the data, at least 0.
        filter: In front of the model, from inputs to inputs; None tests the bare model.
        unfiltered_model: A model of its own for the arm without the filter.
        bounds: Smallest and largest value of an input; either may be an array of one number a
            feature, or of any shape that broadcasts to a sample's, such as ``(C, 1, 1)``.
        mutable: Which features may change, an array of booleans that broadcasts to a sample's
            shape; all by default.
        disturb: What happens to every image before the attack, by name: ``rotation`` (degrees,
            counter-clockwise), ``shift`` (pixels, or a pair down and right), ``blur`` (standard
            deviation in pixels), ``contrast`` (times, about the image's mean), ``brightness``
            (added, in the units of the data), ``noise`` (standard deviation, likewise). Clean
            accuracies stay those of the images as they came.
        device: Where to run; None stays where the model is.
        on_examples: Is shown every verified adversarial example; see :class:`Counterexamples`,
            of which every evaluation needs one of its own.
        conditions: As of :func:`robust`: ``norm``, ``threat``, ``target``, ``mean``, ``std``,
            ``filter_gradient``, ``eot``, ``steps``, ``attack_args``, ``samples``, ``seed``,
            ``queries``, ``waive`` and ``strength``.

    Returns:
        The evaluation of all samples, a value: it keeps neither model nor data. Other budgets
        are :func:`curve`'s.

    Raises:
        ContractError: An argument that can't be meant.
        SubjectError: What can't be evaluated, with the reason.
        AttackError: The attack itself broke down.
    """
    if isinstance(on_examples, Counterexamples) and on_examples.arms:
        # Mixed with those of another model or budget, they would show what never happened.
        raise ContractError(
            "on_examples= already holds the examples of another evaluation: give each evaluation "
            "a Counterexamples() of its own"
        )
    contract = _contract("evaluate", attack, eps, disturb, filter, conditions)
    parts = Parts(model, data, filter, bounds, unfiltered_model, mutable)
    campaign = _campaign(contract, parts, disturb, device, on_examples or unseen)
    return campaign.measure(float(eps))


def curve(
    model: Any,
    data: Any,
    budgets: Sequence[float],
    *,
    attack: Any,
    filter: Any = None,
    unfiltered_model: Any = None,
    bounds: Any = (0.0, 1.0),
    mutable: Any = None,
    disturb: Mapping[str, float | tuple[float, float]] | None = None,
    device: str | None = None,
    **conditions: Unpack[MeasurementArguments],
) -> Curve:
    """Accuracy over budgets, of a model with and without a filter; pytest not needed.

    The largest budget is attacked first: who withstands it is not attacked at smaller ones. No
    evidence is weighed, so no verdict may rest on it.

    Args:
        model: As for :func:`evaluate`; so are the other arguments.
        data: Inputs and labels.
        budgets: Numbers of at least 0, in the units of the data.
        attack: Name of an attack, or an instance of a Foolbox attack.
        filter: In front of the model; None tests the bare model.
        unfiltered_model: A model of its own for the arm without the filter.
        bounds: Smallest and largest value of an input.
        mutable: Which features may change.
        disturb: What happens to every image before the attack.
        device: Where to run; None stays where the model is.
        conditions: As of :func:`evaluate`.

    Raises:
        ContractError: An argument that can't be meant.
        SubjectError: What can't be evaluated, with the reason.
        AttackError: The attack itself broke down.
    """
    points = checked_points(budgets)
    contract = _contract("curve", attack, points[-1], disturb, filter, conditions)
    parts = Parts(model, data, filter, bounds, unfiltered_model, mutable)
    return _campaign(contract, parts, disturb, device, unseen).curve(points)


def _contract(
    function: str,
    attack: Any,
    eps: float,
    disturb: Mapping[str, Any] | None,
    filter: Any,
    conditions: MeasurementArguments,
) -> Contract:
    """What is measured as a contract without a floor, so that what it refuses is refused here."""
    refuse_unknown(function, conditions, _DEFAULTS)
    given = {**_DEFAULTS, **conditions}
    own = {name: given[name] for name in ("norm", "steps", "attack_args")}
    if attack is None:
        if not disturb:
            raise ContractError(
                f"{function}() needs attack=, disturb=, or both: nothing would be tested"
            )
        choice = no_attack(eps=eps or None, queries=given["queries"], **own)
    else:
        choice = chosen(attack, *own.values())
    contract = Contract(
        choice,
        checked_eps(eps),
        filter=None if filter is None else "filter",
        **checked_measurement(given),
    )
    contract.check()
    return contract


def _campaign(
    contract: Contract,
    parts: Parts,
    disturb: Mapping[str, Any] | None,
    device: str | None,
    on_examples: OnExamples,
) -> Campaign:
    seed = contract.seed or 0
    happens = checked_disturbances(disturb)
    subject = bound_subject(
        contract,
        parts,
        read_samples(parts.data),
        samples=contract.samples,
        seed=seed,
    )
    threat = contract.threat or contract.attack.spec.threats[0]
    measurement = Measurement.of(contract, 0.0, threat, seed, disturbances=happens)
    return Campaign(subject, measurement, on_examples=on_examples, device=device)
