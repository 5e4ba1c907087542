"""Every example that counts is re-checked here, by arithmetic written anew."""

import numpy as np
import pytest
import torch

from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.targets import checked_target
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.subject import build_subject

CASES = [
    ("fgsm", "linf", 0.15, None),
    ("bim", "linf", 0.1, None),
    ("bim", "linf", 0.001, None),
    ("pgd", "l2", 1.0, None),
    ("mi-fgsm", "linf", 0.1, None),
    ("bim", "linf", 0.2, 5),
    ("L2CarliniWagnerAttack", "l2", 1.5, None),
    ("L2DeepFoolAttack", "l2", 1.5, None),
    ("L1FMNAttack", "l1", 12.0, None),
]

# Foolbox's default is 9 x 10,000 steps.
FEWER = {
    "L2CarliniWagnerAttack": {"steps": 40, "binary_search_steps": 2, "initial_const": 10.0},
}


def distance(norm, originals, examples):
    difference = np.abs(examples.astype(np.float64) - originals.astype(np.float64))
    flat = difference.reshape(len(difference), -1)
    return {
        "linf": lambda: flat.max(axis=1),
        "l2": lambda: np.sqrt((flat**2).sum(axis=1)),
        "l1": lambda: flat.sum(axis=1),
    }[norm]()


def allowed(norm, eps, size):
    slack = eps * 1e-6 + 4 * np.spacing(np.float32(1.0))
    return eps + slack * {"linf": 1, "l2": np.sqrt(size), "l1": size}[norm]


@pytest.mark.parametrize(("attack", "norm", "eps", "target"), CASES)
@pytest.mark.parametrize("threat", ["white-box", "gray-box"])
def test_every_counted_example_passes_an_independent_check(
    attack, norm, eps, target, threat, digits, digits_model, digits_filter
):
    """Finite, inside the bounds and the ball, misclassified also alone and in a large batch."""
    inputs, labels = (part[: 128 if attack.islower() else 64] for part in digits)
    choice = chosen(attack, norm, None, FEWER.get(attack))
    shown = {"unfiltered": {}, "filtered": {}}

    def keep(arm, samples, examples, answers):
        shown[arm].update(zip(samples.tolist(), examples, strict=True))

    evaluation = measure(
        build_subject(digits_model, (inputs, labels), digits_filter),
        Measurement(choice, eps, threat, checked_target(target)),
        on_examples=keep,
    )
    pipeline = torch.nn.Sequential(digits_filter, digits_model)
    for name, judge in (("unfiltered", digits_model), ("filtered", pipeline)):
        arm = evaluation.arms[name]
        counted = {row for row, letter in enumerate(arm.outcomes) if letter in "bt"}
        assert set(shown[name]) == counted
        assert len(counted) == arm.beaten
        if not counted:
            continue
        rows = sorted(counted)
        examples = torch.stack([shown[name][row] for row in rows])
        array, originals = examples.numpy(), inputs[rows].numpy()
        assert np.isfinite(array).all()
        assert array.min() >= 0
        assert array.max() <= 1
        assert (distance(norm, originals, array) <= allowed(norm, eps, 784)).all()
        with torch.no_grad():
            together = judge(examples).numpy()
            alone = np.concatenate([judge(x[None]).numpy() for x in examples[:20]])
        truth = labels[rows].numpy()
        own = np.take_along_axis(together, truth[:, None], 1)[:, 0]
        assert (together.max(axis=1) > own).all()
        assert (alone.argmax(axis=1) != truth[:20]).all()
    assert evaluation.unfiltered.beaten > 0 or eps == 0.001


class Brighter(torch.nn.Module):
    """Undoes a darkening of the first feature, which the second one tells of."""

    def forward(self, x):
        return torch.stack([torch.where(x[:, 1] > 0.5, 5 * x[:, 0], x[:, 0]), x[:, 1]], dim=1)


class Border(torch.nn.Module):
    """Logits [-z, z] of how far the first feature lies above 0.5."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        z = self.scale * (x[:, 0] - 0.5)
        return torch.stack([-z, z], dim=1)


def test_the_filtered_arm_is_attacked_where_the_bare_model_already_errs():
    """A sample wrong on the bare model but right behind the filter can still be beaten there."""
    distances = torch.linspace(-0.45, 0.45, 20).repeat_interleave(2)
    dark = torch.arange(40) % 2 == 1
    seen = torch.where(dark, (0.5 + distances) / 5, 0.5 + distances)
    labels = (distances > 0).long()
    evaluation = measure(
        build_subject(Border(), (torch.stack([seen, dark.float()], dim=1), labels), Brighter()),
        Measurement(chosen("bim", None, None, None), 0.05, "white-box"),
    )
    wrong = dark & (labels == 1)
    near = distances.abs() < torch.where(dark, 5 * 0.05, 0.05)
    assert evaluation.unfiltered.outcomes == letters(near & ~dark, wrong)
    assert evaluation.filtered.outcomes == letters(near, torch.zeros_like(wrong))


def letters(beaten, wrong):
    pairs = zip(beaten.tolist(), wrong.tolist(), strict=True)
    return "".join("-" if errs else "b" if falls else "s" for falls, errs in pairs)
