"""What a run draws depends on seed and sample alone, and it leaves no trace."""

import random

import numpy as np
import pytest
import torch

from pytest_aerobust import evaluate
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.subject import build_subject


def differing(first, second):
    return sum(a != b for a, b in zip(first.outcomes, second.outcomes, strict=True))


@pytest.mark.parametrize(
    ("attack", "norm", "eps", "steps"),
    [("pgd", "linf", 0.08, 8), ("pgd", "l2", 1.0, 8), ("mi-fgsm", "linf", 0.06, 8)],
)
def test_chunk_size_changes_nothing_but_rounding(
    attack, norm, eps, steps, digits, digits_model, digits_filter
):
    """Chunks of 37, 64 and 300 beat the same samples, to within one that rounding decides."""
    data = tuple(part[:300] for part in digits)
    subject = build_subject(digits_model, data, digits_filter)
    measurement = Measurement(chosen(attack, norm, steps, None), eps, "white-box")
    results = [measure(subject, measurement, chunk=chunk) for chunk in (37, 64, 300)]
    assert 0.05 < results[0].unfiltered.accuracy < 0.95
    for other in results[1:]:
        assert differing(results[0].unfiltered, other.unfiltered) <= 1
        assert differing(results[0].filtered, other.filtered) <= 1


@pytest.mark.parametrize("chunk", [1, 70, 200])
def test_stock_attacks_draw_the_same_whatever_the_chunk(chunk, digits, digits_model):
    """A random Foolbox attack sees the same blocks under the same seeds."""
    data = tuple(part[:200] for part in digits)
    subject = build_subject(digits_model, data)
    choice = chosen("L2RepeatedAdditiveGaussianNoiseAttack", None, None, {"repeats": 5})
    measurement = Measurement(choice, 8.0, "black-box")
    expected = measure(subject, measurement).unfiltered
    assert 0 < expected.beaten < expected.correct
    assert measure(subject, measurement, chunk=chunk).unfiltered == expected


def test_a_sample_draws_the_same_in_a_subset(digits, digits_model):
    """Random starts are keyed by the sample's number in the user's data."""
    whole = evaluate(digits_model, digits, attack="pgd", eps=0.06, steps=3)
    few = evaluate(digits_model, digits, attack="pgd", eps=0.06, steps=3, samples=200)
    again = evaluate(digits_model, digits, attack="pgd", eps=0.06, steps=3, samples=200)
    assert few == again
    assert few.unfiltered.samples == 200
    assert abs(few.unfiltered.accuracy - whole.unfiltered.accuracy) < 0.1


def test_another_seed_draws_other_starts(digits, digits_model):
    """The seed matters to a random start, and to nothing in an attack without one."""
    data = tuple(part[:300] for part in digits)
    pgd = [
        evaluate(
            digits_model,
            data,
            attack="pgd",
            eps=0.1,
            steps=1,
            attack_args={"rel_stepsize": 0.3},
            seed=seed,
        ).unfiltered
        for seed in (0, 1)
    ]
    bim = [
        evaluate(digits_model, data, attack="bim", eps=0.05, seed=seed).unfiltered
        for seed in (0, 1)
    ]
    assert pgd[0] != pgd[1]
    assert bim[0] == bim[1]


def test_global_random_state_is_left_as_found(digits, digits_model):
    """Python's, NumPy's and torch's next draws are what they would have been."""
    data = tuple(part[:64] for part in digits)

    def draws():
        return random.random(), np.random.rand(), torch.rand(1).item()

    for seeded in (lambda: random.seed(1), lambda: np.random.seed(1), lambda: torch.manual_seed(1)):
        seeded()
    expected = draws()
    for seeded in (lambda: random.seed(1), lambda: np.random.seed(1), lambda: torch.manual_seed(1)):
        seeded()
    evaluate(digits_model, data, attack="LinfRepeatedAdditiveUniformNoiseAttack", eps=0.1)
    evaluate(digits_model, data, attack="pgd", eps=0.1, steps=2)
    assert draws() == expected
