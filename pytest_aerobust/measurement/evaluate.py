"""The engine without pytest."""

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_aerobust.contract.arguments import (
    FilterGradient,
    checked_count,
    checked_eps,
    checked_feature_bounds,
    checked_filter_gradient,
    checked_mask,
    checked_statistics,
    checked_threat,
)
from pytest_aerobust.contract.attack import AttackChoice, chosen, no_attack
from pytest_aerobust.contract.catalogue import Norm, Threat
from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.disturbances import Disturbances, checked_disturbances
from pytest_aerobust.contract.targets import Rule, checked_target
from pytest_aerobust.contract.waivers import Strength, checked_strength, checked_waivers
from pytest_aerobust.counterexamples.collector import Counterexamples, OnExamples, unseen
from pytest_aerobust.errors import ContractError
from pytest_aerobust.measurement.campaign import Campaign
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.subjects.data import read_samples
from pytest_aerobust.subjects.subject import build_subject


def evaluate(
    model: Any,
    data: Any,
    *,
    attack: Any = None,
    eps: float = 0.0,
    filter: Any = None,
    norm: Norm | None = None,
    threat: Threat | None = None,
    target: int | Mapping[int, int] | Rule | None = None,
    unfiltered_model: Any = None,
    bounds: Any = (0.0, 1.0),
    mutable: Any = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    filter_gradient: FilterGradient | None = None,
    eot: int | None = None,
    steps: int | None = None,
    attack_args: Mapping[str, Any] | None = None,
    samples: int | None = None,
    seed: int = 0,
    queries: int | None = None,
    disturb: Mapping[str, float | tuple[float, float]] | None = None,
    device: str | None = None,
    waive: Mapping[str, str] | None = None,
    strength: Strength = "standard",
    on_examples: OnExamples | None = None,
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
        norm: Norm of the budget's ball; the attack's own by default.
        threat: What the attacker knows; the attack's own by default.
        target: What the attacker wants: a class, a mapping class to class, ``"natural"`` or
            ``"non-natural"``, as in :func:`robust`; untargeted by default.
        unfiltered_model: A model of its own for the arm without the filter.
        bounds: Smallest and largest value of an input; either may be an array of one number a
            feature, or of any shape that broadcasts to a sample's, such as ``(C, 1, 1)``.
        mutable: Which features may change, an array of booleans that broadcasts to a sample's
            shape; all by default.
        mean: Subtracted in front of the models, one number or one a channel.
        std: Divides what is left, likewise.
        filter_gradient: How gradients pass the filter, ``"exact"`` or ``"identity"``, as in
            :func:`robust`; decided by the filter's own gradient by default.
        eot: How many random answers to average, as in :func:`robust`.
        steps: Steps of the attack, where it has steps.
        attack_args: Further arguments for the attack's constructor.
        samples: Draw this many, stratified by label; all by default.
        seed: Seed of everything random.
        queries: Most answers of the pipeline for one sample, at least 1, as in :func:`robust`.
        disturb: What happens to every image before the attack, by name: ``rotation`` (degrees,
            counter-clockwise), ``shift`` (pixels, or a pair down and right), ``blur`` (standard
            deviation in pixels), ``contrast`` (times, about the image's mean), ``brightness``
            (added, in the units of the data), ``noise`` (standard deviation, likewise). Clean
            accuracies stay those of the images as they came.
        device: Where to run; None stays where the model is.
        waive: Checks of the evidence that are turned off, each with the reason.
        strength: How much evidence is gathered: ``"standard"`` or ``"thorough"``.
        on_examples: Is shown every verified adversarial example; see :class:`Counterexamples`,
            of which every evaluation needs one of its own.

    Returns:
        The evaluation of all samples; its method ``curve`` measures other budgets.

    Raises:
        ContractError: An argument that can't be meant.
        SubjectError: What can't be evaluated, with the reason.
        AttackError: The attack itself broke down.
    """
    _check_unused(on_examples)
    happens = checked_disturbances(disturb)
    choice = (
        _no_attack(eps, happens, norm=norm, steps=steps, attack_args=attack_args, queries=queries)
        if attack is None
        else chosen(attack, norm, steps, attack_args)
    )
    settled = checked_threat(threat) or choice.spec.threats[0]
    wanted = checked_target(target)
    drawn = checked_count("seed", seed, least=0) or 0
    passing = checked_filter_gradient(filter_gradient)
    granted = checked_count("queries", queries, least=1)
    Contract(
        choice,
        checked_eps(eps),
        settled,
        wanted,
        filter=None if filter is None else "filter",
        filter_gradient=passing,
        queries=granted,
    ).check()
    subject = build_subject(
        model,
        read_samples(data),
        filter,
        bounds=checked_feature_bounds(bounds),
        mutable=checked_mask(mutable),
        unfiltered_model=unfiltered_model,
        mean=checked_statistics("mean", mean),
        std=checked_statistics("std", std, positive=True),
        filter_gradient=passing,
        draws=checked_count("eot", eot, least=1) or 1,
        samples=checked_count("samples", samples, least=1),
        seed=drawn,
    )
    measurement = Measurement(
        choice,
        float(eps),
        settled,
        wanted,
        drawn,
        checked_waivers(waive),
        checked_strength(strength),
        granted,
        happens,
    )
    campaign = Campaign(subject, measurement, on_examples=on_examples or unseen, device=device)
    return campaign.measure(float(eps))


def _check_unused(on_examples: OnExamples | None) -> None:
    """Mixed with those of another model or budget, examples would show what never happened."""
    if isinstance(on_examples, Counterexamples) and on_examples.arms:
        raise ContractError(
            "on_examples= already holds the examples of another evaluation: give each evaluation "
            "a Counterexamples() of its own"
        )


def _no_attack(eps: float, disturbances: Disturbances, **told: Any) -> AttackChoice:
    if not disturbances:
        raise ContractError("evaluate() needs attack=, disturb=, or both: nothing would be tested")
    return no_attack(eps=eps or None, **told)
