"""Bounds of each feature and features that may not change, against answers in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pytest_aerobust import ContractError, Counterexamples, DataError, evaluate
from pytest_aerobust.counterexamples.verification import Ball
from pytest_aerobust.subjects.box import Box

LOW = np.array([0.0, -1.0, 0.0, 10.0, 0.0, 0.0])
HIGH = np.array([1.0, 1.0, 0.5, 90.0, 1.0, 2.0])
MUTABLE = np.array([True, False, True, True, False, True])
GRADIENT = ["fgsm", "bim", "pgd", "mi-fgsm"]


class Tabular(nn.Module):
    """Logits [-z, z] of z = w.(x - middle), with a small weight for the feature of 10 to 90."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -3.0, 2.0, 0.05, 4.0, -1.0]))

    def forward(self, x):
        z = (x - torch.tensor((LOW + HIGH) / 2, dtype=x.dtype)) @ self.weight.to(x)
        return torch.stack([-z, z], dim=1)


@pytest.fixture
def table():
    """A linear model of six features on their own scales, 200 samples and the labels it gives."""
    rng = np.random.default_rng(3)
    x = torch.tensor(rng.uniform(LOW, HIGH, (200, 6)), dtype=torch.float32)
    x = x.clamp(torch.tensor(LOW).float(), torch.tensor(HIGH).float())
    model = Tabular()
    return model, x, model(x).argmax(dim=1)


def survivors(evaluation):
    return torch.tensor([letter == "s" for letter in evaluation.unfiltered.outcomes])


def worst(model, x, y, eps, mutable=None):
    """|z| that is left after the best move in the Linf ball, the box and what may change."""
    weight = model.weight.detach().double()
    sign = torch.where(y == 1, -1.0, 1.0)[:, None].double()
    low, high = torch.tensor(LOW).float().double(), torch.tensor(HIGH).float().double()
    moved = (x.double() + eps * sign * weight.sign()).clamp(low, high)
    if mutable is not None:
        moved = torch.where(torch.tensor(mutable), moved, x.double())
    z = (moved - torch.tensor((LOW + HIGH) / 2)) @ weight
    return z * -sign.flatten()


@pytest.mark.parametrize("mutable", [None, MUTABLE], ids=["all", "some"])
@pytest.mark.parametrize("eps", [0.05, 0.3])
@pytest.mark.parametrize("attack", [*GRADIENT, "LinfBasicIterativeAttack"])
def test_linear_model_flips_where_box_and_mask_let_it(table, attack, eps, mutable):
    """Only features that may change move, each within its own bounds: the clipped optimum."""
    model, x, y = table
    left = worst(model, x, y, eps, mutable)
    found = evaluate(model, (x, y), attack=attack, eps=eps, bounds=(LOW, HIGH), mutable=mutable)
    clear = left.abs() > 0.02
    assert torch.equal(survivors(found)[clear], (left > 0)[clear])
    assert 0.2 < (left > 0).double().mean() < 0.98


@pytest.mark.parametrize("attack", ["fgsm", "bim", "mi-fgsm"])
def test_l2_budget_counts_features_that_may_change_alone(table, attack):
    """Far from the bounds a sample flips where eps exceeds |z| over the norm of the free weights.

    A step normalised over the frozen features, too, would fall short of the sphere.
    """
    model, x, y = table
    x = torch.tensor((LOW + HIGH) / 2).float() + (x - torch.tensor((LOW + HIGH) / 2).float()) * 0.2
    y = model(x).argmax(dim=1)
    weight = model.weight.detach().double()
    distance = model(x)[:, 1].detach().abs() / weight[torch.tensor(MUTABLE)].norm()
    eps = 0.12
    clear = (distance - eps).abs() > 1e-4
    settings = {"bounds": (LOW, HIGH), "mutable": MUTABLE, "norm": "l2"}
    found = survivors(evaluate(model, (x, y), attack=attack, eps=eps, **settings))
    assert torch.equal(found[clear], (distance > eps)[clear])
    assert 0.1 < found.float().mean() < 0.9


@pytest.mark.parametrize(
    "attack",
    [*GRADIENT, "LinfPGD", "LinfRepeatedAdditiveUniformNoiseAttack", "LinfDeepFoolAttack"],
)
def test_every_example_respects_box_and_mask(table, attack):
    """Frozen features are bit for bit the sample's own, the others inside their own bounds."""
    model, x, y = table
    kept = Counterexamples()
    settings = {"bounds": (LOW, HIGH), "mutable": MUTABLE, "on_examples": kept}
    evaluate(model, (x, y), attack=attack, eps=0.4, **settings)
    found = kept.of("unfiltered")
    assert found
    for example in found:
        adversarial, original = np.asarray(example.adversarial), x[example.sample].numpy()
        assert (adversarial[~MUTABLE] == original[~MUTABLE]).all()
        assert (adversarial >= LOW.astype("f4")).all()
        assert (adversarial <= HIGH.astype("f4")).all()


def test_features_that_may_all_change_change_nothing(table):
    """A mask of True and equal bounds for every feature are what two numbers say."""
    model, x, y = table
    x = torch.tensor(np.random.default_rng(0).uniform(0, 1, (200, 6)), dtype=torch.float32)
    y = model(x).argmax(dim=1)
    plain = evaluate(model, (x, y), attack="pgd", eps=0.2)
    spread = ([0.0] * 6, np.ones(6))
    told = evaluate(model, (x, y), attack="pgd", eps=0.2, bounds=spread, mutable=[True] * 6)
    assert told.unfiltered == plain.unfiltered


@pytest.mark.parametrize("channels_last", [False, True])
def test_bounds_of_channels(channels_last):
    """Images take bounds a channel, (C, 1, 1), and (C,) where the channels come last."""
    rng = np.random.default_rng(5)
    high = np.array([1.0, 4.0, 9.0])
    shape = (1, 1, 3) if channels_last else (3, 1, 1)
    images = rng.uniform(0, high.reshape(shape), (40, *((4, 4, 3) if channels_last else (3, 4, 4))))
    x = torch.tensor(images, dtype=torch.float32)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    weight = torch.tensor(rng.normal(size=(2, 48)), dtype=torch.float32)
    state = {"1.weight": weight, "1.bias": -weight @ x.flatten(1).mean(dim=0)}
    model.load_state_dict(state)
    y = model(x).argmax(dim=1)
    told = high if channels_last else high.reshape(shape)
    kept = Counterexamples()
    evaluate(model, (x, y), attack="bim", eps=6.0, bounds=(0, told), on_examples=kept)
    found = np.stack([np.asarray(example.adversarial) for example in kept.of("unfiltered")])
    axes = (0, 1, 2) if channels_last else (0, 2, 3)
    assert np.array_equal(found.max(axis=axes), high)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_verification_knows_the_box_of_each_feature(data):
    """A candidate counts exactly if all features are in their bounds and the frozen unmoved."""
    size = data.draw(st.integers(1, 5))
    floats = st.floats(0, 1, width=32)
    numbers = st.lists(floats, min_size=size, max_size=size)
    low = np.array(data.draw(numbers), "f4")
    high = low + 1
    mask = tuple(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    box = Box.of((tuple(low.tolist()), tuple(high.tolist())), mask, (size,))
    original = torch.tensor(low + 0.5)[None]
    candidate = torch.tensor(np.array(data.draw(numbers), "f4") * 3)[None]
    inside = (candidate[0].numpy() >= low) & (candidate[0].numpy() <= high)
    unmoved = candidate[0].numpy() == original[0].numpy()
    expected = bool((inside & (unmoved | np.array(mask))).all())
    assert Ball("linf", 10.0, box).holds(original, candidate).item() is expected


def test_tolerance_is_each_features_own(table):
    """Rounding of a feature up to 1e6 allows nothing more in one up to 1."""
    box = Box.of(((0.0, 0.0), (1.0, 1e6)), None, (2,))
    originals = torch.tensor([[0.5, 5e5]])
    ball = Ball("linf", 0.1, box)
    assert not ball.holds(originals, originals + torch.tensor([0.11, 0.0])).item()
    assert ball.holds(originals, originals + torch.tensor([0.1, 0.125])).item()


def test_one_feature_outside_its_bounds_is_named(table):
    """Inputs that fit the hull but not their own bounds are refused with the feature."""
    model, x, y = table
    x = x.clone()
    x[7, 2] = 0.75
    with pytest.raises(DataError, match=r"1 features leave their bounds: feature \(2,\)'s span"):
        evaluate(model, (x, y), attack="bim", eps=0.1, bounds=(LOW, HIGH))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bounds": (LOW[:5], HIGH[:5])}, r"bounds= has shape \(5,\), a sample has \(6,\)"),
        ({"bounds": (HIGH, LOW)}, r"bounds of feature \(0,\) are \(1, 0\): expected all smallest"),
        ({"bounds": (LOW, LOW)}, "leave every feature a single value"),
        ({"bounds": ([0, float("nan")], [1, 1])}, "expected two arrays of finite numbers"),
        ({"bounds": ([[0], [0, 0]], 1)}, "of no shape"),
        ({"mutable": [True] * 5}, r"mutable= has shape \(5,\), a sample has \(6,\)"),
        ({"mutable": [False] * 6}, "mutable is False for every feature"),
        ({"mutable": [1, 0, 1, 1, 0, 1]}, "expected an array of booleans"),
        ({"mutable": np.ones(6)}, "expected an array of booleans"),
        ({"mutable": True}, "expected an array of booleans"),
        ({"mutable": "aerobust_mutable"}, "expected an array of booleans"),
    ],
    ids=[
        "too few bounds", "reversed", "nothing left", "NaN", "ragged", "too few entries",
        "all frozen", "integers", "floats", "one boolean", "a name",
    ],
)  # fmt: skip
def test_senseless_bounds_and_masks(table, settings, said):
    """Bounds and masks that don't fit the samples are refused with what came and was expected."""
    model, x, y = table
    with pytest.raises(ContractError, match=said):
        evaluate(model, (x, y), attack="bim", eps=0.1, **{"bounds": (LOW, HIGH), **settings})
