"""The threat behind the filter: what publications attack, and nobody can reach."""

import numpy as np
import pytest
import torch
from torch import nn

from pytest_aerobust import ContractError, Counterexamples, FilterError, evaluate, robust

EPS = 0.1


class Scaled(nn.Module):
    """Puts everything on another scale, as an autoencoder with raw outputs does."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


class Unscaled(nn.Module):
    """The classifier that was trained on the filter's outputs."""

    def __init__(self, model, factor):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x):
        return self.model(x / self.factor)


@pytest.mark.parametrize("attack", ["fgsm", "bim"])
def test_it_is_the_attack_on_the_model_from_the_filters_outputs(
    attack, digits, digits_model, digits_filter
):
    """The filtered arm equals the bare model attacked on data that the filter made beforehand."""
    inputs, labels = digits
    with torch.no_grad():
        seen = digits_filter(inputs)
    behind = evaluate(
        digits_model,
        digits,
        filter=digits_filter,
        attack=attack,
        eps=EPS,
        threat="behind-filter",
    )
    expected = evaluate(digits_model, (seen, labels), attack=attack, eps=EPS).unfiltered
    assert behind.filtered.confusion == expected.confusion
    assert behind.filtered.outcomes == expected.outcomes
    bare = evaluate(digits_model, digits, attack=attack, eps=EPS).unfiltered
    assert behind.unfiltered == bare


def test_another_scale_makes_a_budget_small(digits, digits_model):
    """Outputs 75 times as large make eps a 75th of itself: accuracy looks as if nothing happened.

    This is the source paper's trap; at the pipeline's input the same model has no defence.
    """
    pipeline = {"model": Unscaled(digits_model, 75), "filter": Scaled(75)}
    arguments = {"attack": "bim", "eps": 0.3, "unfiltered_model": digits_model}
    few = tuple(part[:300] for part in digits)
    behind = evaluate(**pipeline, data=few, **arguments, threat="behind-filter")
    white = evaluate(**pipeline, data=few, **arguments)
    assert white.filtered.accuracy < 0.01
    assert behind.filtered.accuracy > 0.9
    reference = evaluate(digits_model, few, attack="bim", eps=0.3 / 75).unfiltered
    assert abs(behind.filtered.accuracy - reference.accuracy) < 0.02
    notes = " ".join(behind.notes)
    assert "outside the bounds (0, 1)" in notes
    assert "shows nothing of the pipeline" in notes


def test_examples_are_those_of_the_filters_outputs(digits, digits_model, digits_filter):
    """Every counted example lies in the ball around what the filter puts out."""
    kept = Counterexamples()
    few = tuple(part[:200] for part in digits)
    evaluate(
        digits_model,
        few,
        filter=digits_filter,
        attack="bim",
        eps=EPS,
        threat="behind-filter",
        on_examples=kept,
    )
    with torch.no_grad():
        seen = digits_filter(few[0])
        for example in kept.of("filtered"):
            assert (example.adversarial - seen[example.sample]).abs().max() <= EPS + 1e-6
            answer = int(digits_model(example.adversarial[None]).argmax())
            assert answer == example.answer != int(few[1][example.sample])
    assert len(kept.of("filtered")) > 50


def test_a_decision_based_attack_works_there_too(digits, digits_model, digits_filter):
    """Attacks that only ask for answers can stand behind the filter as well."""
    few = tuple(part[:40] for part in digits)
    evaluation = evaluate(
        digits_model,
        few,
        filter=digits_filter,
        attack="LinfRepeatedAdditiveUniformNoiseAttack",
        eps=0.5,
        threat="behind-filter",
    )
    assert evaluation.filtered.beaten > 0


def test_an_attack_of_the_unit_interval_works_on_another_scale(digits, digits_model):
    """HopSkipJump knows [0, 1] alone: behind a filter with another scale it is mapped there."""
    few = tuple(part[:10] for part in digits)
    found = evaluate(
        Unscaled(digits_model, 75),
        few,
        filter=Scaled(75),
        attack="hop-skip-jump",
        norm="linf",
        eps=45.0,
        steps=2,
        threat="behind-filter",
        unfiltered_model=digits_model,
    )
    assert found.filtered.beaten > 0
    assert not any(finding.void for finding in found.evidence)


def test_without_a_filter_it_means_nothing(digits, digits_model):
    """No filter, nothing to stand behind: an error in words, at collection where it can be."""
    with pytest.raises(ContractError, match="an attacker who reaches in behind the filter, but"):
        evaluate(digits_model, digits, attack="bim", eps=0.1, threat="behind-filter")
    with pytest.raises(ContractError, match="filter=None; leave the threat out"):
        robust(attack="bim", eps=0.1, min_acc=0.5, threat="behind-filter", filter=None)


def test_the_order_of_random_numbers_is_the_datas(digits, digits_model, digits_filter):
    """Random starts behind the filter are keyed by sample: a subset's outcomes are the same."""
    arguments = {
        "filter": digits_filter,
        "attack": "pgd",
        "eps": EPS,
        "steps": 3,
        "threat": "behind-filter",
    }
    whole = evaluate(digits_model, digits, **arguments).filtered.outcomes
    first = evaluate(digits_model, tuple(part[:300] for part in digits), **arguments).filtered
    differing = np.array(list(whole[:300])) != np.array(list(first.outcomes))
    assert differing.sum() <= 1


class Unsound(nn.Module):
    """Answers with a value that no number follows, in one pixel of every seventh digit."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        outputs = x.clone()
        outputs[::7, :, 0, 0] = self.value
        return outputs


class Forgiving(nn.Module):
    """Takes what is not finite for black, so that its logits look sound."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.nan_to_num(0.0, 0.0, 0.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_filter_that_is_not_finite_gives_nothing_to_start_from(value, digits, digits_model):
    """No ball lies around NaN: its samples would survive anything, as a tolerant model says."""
    few = tuple(part[:70] for part in digits)
    with pytest.raises(FilterError, match="NaN or infinity for 10 of 70 clean inputs, first at"):
        evaluate(
            Forgiving(digits_model),
            few,
            filter=Unsound(value),
            attack="bim",
            eps=EPS,
            threat="behind-filter",
        )
