"""Attacks and verification against answers known in closed form."""

import pytest
import torch

from pytest_aerobust import evaluate

ATTACKS = ["fgsm", "bim", "pgd", "mi-fgsm"]


def survivors(evaluation):
    return torch.tensor([letter == "s" for letter in evaluation.unfiltered.outcomes])


@pytest.mark.parametrize("eps", [0.001, 0.01, 0.03, 0.1])
@pytest.mark.parametrize("attack", ATTACKS)
def test_linear_model_flips_at_its_closed_form_linf_budget(attack, eps, linear_problem):
    """A sample falls exactly where eps exceeds its margin over the L1 norm of the weights."""
    model, x, y = linear_problem
    distance = model.margins(x) / model.weight.double().abs().sum()
    clear = (distance - eps).abs() > 1e-5
    survived = survivors(evaluate(model, (x, y), attack=attack, eps=eps))
    assert torch.equal(survived[clear], (distance > eps)[clear])
    assert clear.float().mean() > 0.95


@pytest.mark.parametrize("eps", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("attack", ATTACKS)
def test_linear_model_flips_at_its_closed_form_l2_budget(attack, eps, linear_problem):
    """In L2 the margin is divided by the L2 norm of the weights.

    PGD slides along the sphere from a random start, so it may end a few hundredths short.
    """
    model, x, y = linear_problem
    distance = model.margins(x) / model.weight.double().norm()
    clear = (distance - eps).abs() > (0.1 * eps if attack == "pgd" else 1e-5)
    survived = survivors(evaluate(model, (x, y), attack=attack, norm="l2", eps=eps))
    assert torch.equal(survived[clear], (distance > eps)[clear])


def test_a_zero_budget_gives_the_clean_accuracy(linear_problem):
    """With eps 0 every sample that is right survives, and the result says what it is."""
    model, x, y = linear_problem
    y = y.clone()
    y[:20] = 1 - y[:20]
    evaluation = evaluate(model, (x, y), attack="bim", eps=0)
    assert evaluation.unfiltered.accuracy == evaluation.unfiltered.clean_accuracy == 0.9
    assert any("clean" in note for note in evaluation.notes)


@pytest.mark.parametrize("attack", ["LinfDeepFoolAttack", "LinfBasicIterativeAttack"])
def test_stock_attacks_meet_the_closed_form(attack, linear_problem):
    """Foolbox's own classes, by name, flip the linear model where the formula says."""
    model, x, y = linear_problem
    distance = model.margins(x) / model.weight.double().abs().sum()
    clear = (distance - 0.03).abs() > 1e-3
    survived = survivors(evaluate(model, (x, y), attack=attack, eps=0.03))
    assert torch.equal(survived[clear], (distance > 0.03)[clear])


def test_no_attack_beats_below_the_closed_form(linear_problem):
    """What no example can reach, no attack is credited with, noise and blur included."""
    model, x, y = linear_problem
    distance = model.margins(x) / model.weight.double().abs().sum()
    out_of_reach = distance > 0.02 + 1e-5
    for attack in ("LinfRepeatedAdditiveUniformNoiseAttack", "InversionAttack", "LInfFMNAttack"):
        survived = survivors(evaluate(model, (x, y), attack=attack, eps=0.02))
        assert survived[out_of_reach].all(), attack


def test_bounds_limit_the_attacker(linear_problem):
    """Inputs at the edge of the bounds can't be pushed through it: the clipped optimum decides."""
    model, _, _ = linear_problem
    x = (torch.rand(200, 16, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    y = model(x).argmax(dim=1)
    eps, sign = 0.3, torch.where(y == 1, -1.0, 1.0)[:, None]
    worst = (x + eps * sign * model.weight.sign()).clamp(0, 1)
    flipped = model(worst).argmax(dim=1) != y
    survived = survivors(evaluate(model, (x, y), attack="fgsm", eps=eps))
    assert torch.equal(survived, ~flipped)
    assert 0 < flipped.float().mean() < 1
