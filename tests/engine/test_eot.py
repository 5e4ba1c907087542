"""Random filters and models: attacked and judged by the mean of several draws."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from pytest_aerobust import ContractError, evaluate
from pytest_aerobust.subjects import pipeline
from pytest_aerobust.subjects.pipeline import Classifier

SIGMA, DRAWS = 0.02, 16


def noisy(x):
    """Gaussian noise from torch's global generator."""
    return x + SIGMA * torch.randn_like(x)


def noisy_in_numpy(x):
    """The same from NumPy's."""
    return x + SIGMA * torch.tensor(np.random.standard_normal(x.shape), dtype=x.dtype)


def survivors(arm):
    return torch.tensor([letter == "s" for letter in arm.outcomes])


@pytest.mark.parametrize(
    ("attack", "filter"),
    [("fgsm", noisy), ("bim", noisy_in_numpy), ("LinfBasicIterativeAttack", noisy)],
)
def test_noise_averages_out(linear_problem, attack, filter):
    """Behind noise a linear model flips at its closed-form budget, up to the noise of the mean."""
    model, x, y = linear_problem
    eps, weight = 0.03, model.weight.detach().double()
    left = model.margins(x) - eps * weight.abs().sum()
    clear = left.abs() > 4 * SIGMA * weight.norm() / DRAWS**0.5
    clear &= model.margins(x) > 4 * SIGMA * weight.norm() / DRAWS**0.5
    found = evaluate(model, (x, y), attack=attack, eps=eps, filter=filter, eot=DRAWS)
    assert torch.equal(survivors(found.filtered)[clear], (left > 0)[clear])
    assert clear.sum() > 20
    assert 0.1 < (left > 0)[clear].float().mean() < 0.9


def test_the_note_gives_the_range_of_single_draws(linear_problem):
    """The result says that a mean was judged, and how single draws differ from it."""
    model, x, y = linear_problem
    found = evaluate(model, (x, y), attack="bim", eps=0.05, filter=noisy, eot=8)
    (note,) = [note for note in found.notes if "single draws" in note]
    assert "filtered: the mean of 8 draws is judged (eot=8)" in note
    right, wrong = note.split("single draws are right on ")[1].split(" of the clean samples, and ")
    low, high = map(float, right.split(" to "))
    assert 0.5 < low < found.filtered.clean_accuracy
    assert low <= high < 1
    low, high = map(float, wrong.removeprefix("err on ").split(" of the ")[0].split(" to "))
    assert 0.5 < low <= high < 1
    assert any("the model answers alike in all 8 draws" in note for note in found.notes)


def test_one_draw_overstates_the_attack(linear_problem):
    """With a single draw each iterate is another chance: fewer survive than by the mean."""
    model, x, y = linear_problem
    settings = {"attack": "bim", "eps": 0.001, "filter": noisy}
    believed = dict.fromkeys(("determinism", "batch independence"), "taken at its word")
    lucky = evaluate(model, (x, y), **settings, waive=believed).filtered
    sober = evaluate(model, (x, y), **settings, eot=8).filtered
    assert sober.accuracy > lucky.accuracy + 0.1


def test_the_same_seed_gives_the_same_result(linear_problem):
    """Whatever the global generators hold, and they are left as they were."""
    model, x, y = linear_problem
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        settings = {"attack": "pgd", "steps": 4, "eps": 0.03, "filter": noisy, "eot": 4}
        runs.append(evaluate(model, (x, y), **settings, seed=5))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])
        assert random.getstate() == before[2]
    assert runs[0] == runs[1]
    assert evaluate(model, (x, y), **settings, seed=6).filtered != runs[0].filtered


def test_the_judge_draws_what_no_attacker_saw(linear_problem):
    """Attacker, judge and the count of single draws have streams of their own."""
    model, x, _ = linear_problem
    seeds = []

    def recorded(inputs):
        seeds.append(torch.initial_seed())
        return noisy(inputs)

    side = Classifier("pipeline", model, None, recorded_module(recorded), draws=5, seed=3)
    asked = {}
    for name, ask in {
        "first": side,
        "second": side,
        "judge": side.judged,
        "n": side.singles,
    }.items():
        seeds.clear()
        ask(x)
        asked[name] = set(seeds)
    assert all(len(drawn) == 5 for drawn in asked.values())
    assert len(set.union(*asked.values())) == 20
    seeds.clear()
    side.judged(x)
    assert set(seeds) == asked["judge"], "what is judged is one classifier, not a new one each time"


def recorded_module(function):
    class Recorded(nn.Module):
        def forward(self, inputs):
            return function(inputs)

    return Recorded()


def test_activations_worked_out_again_give_the_same_gradient(linear_problem, monkeypatch):
    """Above a chunk's worth of samples times draws, memory is saved and nothing else changes."""
    _, x, _ = linear_problem
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2))
    gradients = []
    for kept in (10**6, 0):
        monkeypatch.setattr(pipeline, "_KEPT", kept)
        side = Classifier("pipeline", model, None, recorded_module(noisy), draws=4, seed=3)
        inputs = x.clone().requires_grad_()
        gradients.append(side.gradient(side(inputs)[:, 0].tanh().sum(), inputs))
    assert torch.equal(*gradients)
    assert gradients[0].abs().sum() > 0


@pytest.mark.parametrize("attack", ["bim", "LinfRepeatedAdditiveUniformNoiseAttack"])
def test_what_is_not_random_stays_as_it_is(linear_problem, attack):
    """Where all draws are alike one is enough, and the outcome is that without eot."""
    model, x, y = linear_problem
    settings = {"attack": attack, "eps": 0.05, "filter": lambda x: x * 0.9}
    plain, drawn = (evaluate(model, (x, y), **settings, eot=eot) for eot in (None, 8))
    assert drawn.arms == plain.arms
    assert any("the pipeline answers alike in all 8 draws" in note for note in drawn.notes)


@pytest.mark.parametrize("eot", [0, -1, 1.5, "8", True])
def test_senseless_numbers_of_draws(linear_problem, eot):
    """At least one whole draw."""
    model, x, y = linear_problem
    with pytest.raises(ContractError, match=r"eot=.*: expected a whole number of at least 1"):
        evaluate(model, (x, y), attack="bim", eps=0.1, eot=eot)


def test_probabilities_of_single_draws_are_averaged_as_logits(linear_problem):
    """A random model that answers with probabilities is read before its draws are averaged."""
    model, x, y = linear_problem
    soft = nn.Sequential(model, nn.Softmax(dim=1))
    settings = {"attack": "fgsm", "eps": 0.02, "filter": noisy, "eot": 8}
    found, expected = (evaluate(m, (x, y), **settings) for m in (soft, model))
    same = sum(
        a == b for a, b in zip(found.filtered.outcomes, expected.filtered.outcomes, strict=True)
    )
    assert same >= 195
