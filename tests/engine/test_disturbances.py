"""Ordinary disturbances against answers in closed form, alone and under an attack."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from pytest_aerobust import (
    ContractError,
    Counterexamples,
    DataError,
    Evaluation,
    curve,
    evaluate,
    robust,
)
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.disturbances import DISTURBANCES, checked_disturbances
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.disturbing import disturbed
from pytest_aerobust.subjects.subject import build_subject


def images(shape=(6, 1, 9, 9), dtype=torch.float32):
    draw = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    return (0.25 + draw / 2).to(dtype)


def after(inputs, mutable=None, ids=None, seed=0, **severities):
    count = len(inputs)
    ids = torch.arange(count) if ids is None else torch.tensor(ids)
    samples = Samples(inputs, torch.zeros(count, dtype=torch.int64), ids)
    box = Box.of((0.0, 1.0), mutable, tuple(inputs.shape[1:]))
    return disturbed(samples, checked_disturbances(severities), box, seed).inputs


@pytest.mark.parametrize("shape", [(6, 1, 9, 9), (6, 3, 8, 10), (6, 8, 10, 3), (6, 9, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neutral_severities_change_nothing(shape, dtype):
    """Each kind has a severity that leaves images as they are, to the last bit."""
    inputs = images(shape, dtype) ** 8  # values so far apart that their mean would round them
    for name, kind in DISTURBANCES.items():
        found = after(inputs, **{name: kind.neutral})
        assert found.dtype == dtype
        assert torch.equal(found, inputs), name


@pytest.mark.parametrize("shape", [(4, 1, 9, 9), (4, 3, 9, 9), (4, 9, 9, 3), (4, 9, 9)])
def test_geometry(shape):
    """A quarter turn is counter-clockwise; whole pixels go down and right, edges repeated."""
    inputs = images(shape)
    plane = (2, 3) if len(shape) == 4 and shape[1] != 9 else (1, 2)
    turned = np.rot90(inputs.numpy(), axes=plane)
    assert np.allclose(after(inputs, rotation=90), turned, atol=1e-5)
    moved = after(inputs, shift=(2, 1)).numpy()
    down = np.take(inputs.numpy(), np.clip(np.arange(9) - 2, 0, 8), axis=plane[0])
    assert np.allclose(moved, np.take(down, np.clip(np.arange(9) - 1, 0, 8), axis=plane[1]))
    assert torch.equal(after(inputs, shift=2), after(inputs, shift=(2, 2)))


def test_blur_spreads_what_was_there():
    """A point of light keeps its sum and gets the width that was asked for."""
    inputs = torch.zeros(1, 1, 21, 21)
    inputs[0, 0, 10, 10] = 1.0
    soft = after(inputs, blur=1.5)[0, 0].double()
    places = torch.arange(21.0).double() - 10
    assert soft.sum().item() == pytest.approx(1, abs=1e-5)
    assert (soft.sum(dim=1) * places**2).sum().sqrt().item() == pytest.approx(1.5, rel=0.02)


def test_values():
    """Brightness adds, contrast scales about each image's mean, and bounds cut both off."""
    inputs = images()
    assert torch.allclose(after(inputs, brightness=0.1), inputs + 0.1)
    mean = inputs.mean(dim=(1, 2, 3), keepdim=True)
    assert torch.allclose(after(inputs, contrast=0.5), mean + 0.5 * (inputs - mean), atol=1e-6)
    assert after(inputs, brightness=5.0).eq(1).all()
    assert after(inputs, contrast=9.0).min() == 0


def test_noise_is_each_samples_own():
    """Its spread is the severity's; neither company nor a subset changes a sample's draw."""
    inputs = torch.full((300, 1, 9, 9), 0.5)
    noisy = after(inputs, noise=0.05)
    assert (noisy - 0.5).std().item() == pytest.approx(0.05, rel=0.02)
    assert torch.equal(after(inputs[:2], ids=[7, 3], noise=0.05), noisy[[7, 3]])
    assert not torch.equal(after(inputs, noise=0.05, seed=1), noisy)


def test_features_that_may_not_change_stay():
    """Also where the whole image turns."""
    inputs = images()
    mutable = torch.zeros(1, 9, 9, dtype=torch.bool)
    mutable[:, :4] = True
    found = after(inputs, mutable.tolist(), rotation=30, brightness=0.2)
    assert torch.equal(found[:, :, 4:], inputs[:, :, 4:])
    assert not torch.equal(found[:, :, :4], inputs[:, :, :4])


def test_what_is_no_image():
    """Pixels are moved in images alone; values change everywhere."""
    rows = images((5, 7))
    assert torch.allclose(after(rows, brightness=0.1), rows + 0.1)
    with pytest.raises(DataError, match=r"rotation moves pixels.*contrast, brightness, noise"):
        after(rows, rotation=3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rotate": 5}, "did you mean.*rotation"),
        ({"rotation": "5"}, r"rotation='5': expected a finite number \(degrees\)"),
        ({"rotation": float("nan")}, "finite number"),
        ({"blur": -1}, "expected at least 0"),
        ({"noise": -0.1}, "expected at least 0"),
        ({"shift": (1, 2, 3)}, r"or two \(down, right\)"),
        ({"rotation": (1, 2)}, "finite number"),
        ("rotation", "expected severities by name"),
    ],
    ids=str,
)
def test_severities_that_cant_be_meant(linear_problem, given, words):
    """The error names the disturbance, what came and its unit."""
    model, x, y = linear_problem
    with pytest.raises(ContractError, match=words):
        evaluate(model, (x, y), disturb=given)


def test_brightness_flips_a_linear_model_in_closed_form(linear_problem):
    """Who is beaten is who the brighter input puts on the other side; clean answers stay."""
    model, x, y = linear_problem
    for added in (-0.1, -0.02, 0.02, 0.1):
        found = evaluate(model, (x, y), disturb={"brightness": added})
        right = model((x + added).clamp(0, 1)).argmax(dim=1) == y
        assert found.unfiltered.clean_accuracy == 1.0
        assert found.unfiltered.outcomes == "".join("s" if each else "b" for each in right)
        assert Evaluation.from_dict(found.to_dict()) == found
        assert found.disturbances == (("brightness", (added,)),)
        assert not any("eps=0" in note for note in found.notes)


def test_an_attack_starts_from_the_disturbed_input(linear_problem):
    """Ball and distance are those of what the disturbance made of the sample."""
    model, x, y = linear_problem
    kept = Counterexamples()
    settings = {"attack": "fgsm", "eps": 0.01, "disturb": {"brightness": 0.05}}
    found = evaluate(model, (x, y), **settings, on_examples=kept)
    z = model((x + 0.05).clamp(0, 1))[:, 1] * torch.where(y == 1, 1.0, -1.0)
    reach = 0.01 * model.weight.detach().abs().sum()
    stands = z > reach
    assert found.unfiltered.outcomes == "".join("s" if each else "b" for each in stands)
    for example in kept.of("unfiltered"):
        moved = (example.adversarial - (x[example.sample] + 0.05)).abs().max()
        assert moved <= 0.01 + 1e-6


@pytest.mark.parametrize("target", [0, {0: 1}], ids=["its own label", "none"])
def test_who_has_no_target_is_disturbed_all_the_same(linear_problem, target):
    """Nobody attacks them, but they fall; the share of hits is still that of the attacked."""
    model, x, y = linear_problem
    attacked = torch.tensor([label != 0 if target == 0 else label == 0 for label in y.tolist()])
    for added in (-0.3, 0.3):
        settings = {"attack": "bim", "eps": 0, "target": target}
        arm = evaluate(model, (x, y), **settings, disturb={"brightness": added}).unfiltered
        stands = model((x + added).clamp(0, 1)).argmax(dim=1) == y
        letters = np.where(attacked, np.where(stands, "s", "t"), np.where(stands, "e", "f"))
        assert arm.outcomes == "".join(letters)
        assert arm.accuracy == stands.double().mean().item()
        assert arm.target_hits == (~stands[attacked]).double().mean().item()
        assert sum(n for label, answer, n in arm.confusion if label == answer) == stands.sum()


def test_other_budgets_know_who_fell_to_the_disturbance(linear_problem):
    """They are beaten at every budget by what happened to them."""
    model, x, y = linear_problem
    settings = {"attack": "bim", "disturb": {"brightness": -0.05}}
    for each in curve(model, (x, y), [0.0, 0.005, 0.01], **settings).evaluations:
        alone = evaluate(model, (x, y), eps=each.eps, **settings)
        assert each.unfiltered.outcomes == alone.unfiltered.outcomes


def test_rivals_meet_only_whom_the_disturbance_left(linear_problem):
    """An attack is credited with nobody who fell before it began."""
    model, x, y = linear_problem
    settings = {"attack": "bim", "eps": 0.002, "disturb": {"brightness": 0.3}}
    found = evaluate(model, (x, y), **settings)
    (noise,) = (each for each in found.evidence if each.name == "noise")
    assert 0.3 < found.unfiltered.accuracy < 0.7
    assert noise.text.endswith("bim 0")


def test_what_is_remembered_of_a_model_is_of_inputs_as_they_came(linear_problem):
    """The search without a budget tells a later contract the same, whoever asked for it first."""
    model, x, y = linear_problem
    subject = build_subject(model, (x, y))
    plain = Measurement(chosen("bim", "linf", None, None), 0.01, "white-box")
    told = []
    for disturbances in ({}, {"brightness": 0.08}):
        remembered = {}
        measure(
            subject,
            replace(plain, disturbances=checked_disturbances(disturbances)),
            remembered=remembered,
        )
        (finding,) = (each for key, each in remembered.items() if key[0] == "unbounded")
        told.append(finding.text)
    assert told[0] == told[1] == "with the whole range as budget PGD leaves 0 of 64 samples"


def test_chunks_change_nothing(linear_problem):
    """Whatever the size of a chunk, the same samples fall."""
    model, x, y = linear_problem
    told = {"noise": 0.03, "brightness": 0.02}
    pgd = chosen("pgd", "linf", None, None)
    wanted = Measurement(pgd, 0.01, "white-box", disturbances=checked_disturbances(told))
    subject = build_subject(model, (x, y))
    whole = measure(subject, wanted, chunk=200).unfiltered.outcomes
    assert measure(subject, wanted, chunk=7).unfiltered.outcomes == whole
    assert set(whole) == {"s", "b"}


def test_both_arms_meet_the_disturbance(digits, digits_model, digits_filter):
    """Behind a filter the same images are judged by the pipeline; chunks change nothing."""
    data = tuple(part[:300] for part in digits)
    found = evaluate(digits_model, data, filter=digits_filter, disturb={"rotation": 40})
    turned = after(data[0], rotation=40)
    with torch.no_grad():
        bare = digits_model(turned).argmax(dim=1) == data[1]
        behind = digits_model(digits_filter(turned)).argmax(dim=1) == data[1]
    clean = evaluate(digits_model, data, filter=digits_filter, attack="fgsm", eps=0.0)
    assert found.unfiltered.clean_accuracy == clean.unfiltered.clean_accuracy
    assert found.unfiltered.accuracy <= bare.float().mean().item()
    assert abs(found.unfiltered.accuracy - bare.float().mean().item()) < 0.03
    assert abs(found.filtered.accuracy - behind.float().mean().item()) < 0.03
    assert found.unfiltered.accuracy < clean.unfiltered.accuracy


def test_behind_the_filter_there_are_no_inputs(digits, digits_model):
    """The threat that starts from the filter's outputs refuses disturbances in words."""
    data = tuple(part[:20] for part in digits)
    settings = {"filter": nn.Identity(), "attack": "fgsm", "eps": 0.1, "threat": "behind-filter"}
    with pytest.raises(ContractError, match="disturbances happen to inputs"):
        evaluate(digits_model, data, **settings, disturb={"blur": 1})


@pytest.mark.parametrize(
    "given", [{"steps": 3}, {"norm": "l2"}, {"attack_args": {"steps": 3}}, {"queries": 5}], ids=str
)
def test_settings_of_no_attack(linear_problem, given):
    """What only an attack could use is refused where there is none."""
    model, x, y = linear_problem
    (name,) = given
    with pytest.raises(ContractError, match=rf"{name}= is for an attack"):
        evaluate(model, (x, y), disturb={"brightness": 0.1}, **given)
    with pytest.raises(ContractError, match=rf"{name}= is for an attack"):
        robust(vary={"brightness": st.floats(0, 1)}, min_acc=0.5, **given)


def test_no_curve_without_an_attack(linear_problem):
    """A disturbance has no budget to follow; under an attack the area starts where it left."""
    model, x, y = linear_problem
    alone = evaluate(model, (x, y), disturb={"brightness": 0.05})
    with pytest.raises(ContractError, match="no attack whose budgets"):
        curve(model, (x, y), [0.0], attack=None, disturb={"brightness": 0.05})
    told = {"attack": "fgsm", "disturb": {"brightness": 0.05}}
    attacked = curve(model, (x, y), [0.01], **told).unfiltered
    assert attacked.area == pytest.approx((alone.unfiltered.accuracy + attacked.accuracy[0]) / 2)


def test_nothing_to_test(linear_problem):
    """Neither an attack nor a disturbance is an error, as is a budget without an attack."""
    model, x, y = linear_problem
    with pytest.raises(ContractError, match="needs attack="):
        evaluate(model, (x, y))
    with pytest.raises(ContractError, match=r"eps= is for an attack"):
        evaluate(model, (x, y), eps=0.1, disturb={"noise": 0.1})
