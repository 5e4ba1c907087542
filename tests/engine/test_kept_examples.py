"""What was kept of an evaluation stays that evaluation's, whatever is measured afterwards."""

import pytest
import torch
from torch import nn

from pytest_aerobust import ContractError, Counterexamples, epsilons, evaluate
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.contract.targets import checked_target
from pytest_aerobust.counterexamples.files import load
from pytest_aerobust.measurement.binding import Parts
from pytest_aerobust.measurement.campaign import Campaign
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.session import Session
from pytest_aerobust.subjects.subject import build_subject

EPS = 0.05


def campaign(model, data, on_examples, *, attack, norm=None, threat="white-box", **parts):
    choice, target = chosen(attack, norm, None, None), checked_target(parts.get("target"))
    measurement = Measurement(choice, 0.0, threat, target)
    subject = build_subject(model, data, parts.get("filter"))
    return Campaign(subject, measurement, remembered={}, on_examples=on_examples)


def content(kept):
    """Every kept example by arm and sample, for comparison."""
    return {
        (arm, each.sample): (each.adversarial.tolist(), each.answer)
        for arm in ("unfiltered", "filtered")
        for each in kept.of(arm)
    }


def reach(kept, arm, x):
    """How far the farthest example of an arm lies from its original."""
    return max((each.adversarial - x[each.sample]).abs().max().item() for each in kept.of(arm))


@pytest.mark.parametrize("budgets", [[EPS], [0.1], [0.01, 0.02], [0.01, EPS, 0.2]])
@pytest.mark.parametrize(
    "options",
    [
        {"attack": "bim"},
        {"attack": "bim", "filter": nn.Identity()},
        {"attack": "fgsm", "filter": nn.Identity(), "threat": "gray-box"},
        {"attack": "fgsm", "filter": nn.Identity(), "threat": "behind-filter"},
        {"attack": "bim", "target": {0: 1, 1: 0}},
        {"attack": "bim", "target": "natural", "filter": nn.Identity()},
        {"attack": "deepfool", "norm": "linf"},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_a_curve_changes_nothing_that_was_kept(options, budgets, linear_problem):
    """Larger, smaller and equal budgets are attacked without touching what was kept."""
    model, x, y = linear_problem
    kept = Counterexamples()
    measured = campaign(model, (x, y), kept, **options)
    measured.measure(EPS)
    before = content(kept)
    assert before
    measured.curve(budgets)
    assert content(kept) == before
    assert reach(kept, "unfiltered", x) <= EPS + 1e-6


def test_a_curve_is_shown_to_nobody(linear_problem):
    """A callable of the user's sees the examples of the evaluation that it was given to, alone."""
    model, x, y = linear_problem
    calls = []
    measured = campaign(model, (x, y), lambda *seen: calls.append(seen), attack="fgsm")
    measured.measure(EPS)
    seen = len(calls)
    assert seen
    measured.curve([0.02, 0.1])
    assert len(calls) == seen


def test_each_evaluation_keeps_its_own(linear_problem):
    """What holds the examples of one evaluation is refused to a second, and stays as it was."""
    model, x, y = linear_problem
    kept = Counterexamples()
    evaluate(model, (x, y), attack="fgsm", eps=EPS, on_examples=kept)
    before = content(kept)
    with pytest.raises(ContractError, match=r"on_examples=.*of its own"):
        evaluate(model, (x, y), attack="fgsm", eps=0.1, on_examples=kept)
    assert content(kept) == before
    nobody = Counterexamples()
    for eps in (0.0, EPS):  # where nothing was found there is nothing to lose
        evaluate(model, (x, y), attack="fgsm", eps=eps, on_examples=nobody)
    assert content(nobody) == before


def test_a_smaller_budget_keeps_its_examples(linear_problem, tmp_path):
    """A targeted attacker hunts on in larger balls; who fell in a smaller one still shows there."""
    model, x, y = linear_problem

    class Third(nn.Module):
        """A class that lies behind the second one, out of reach."""

        def forward(self, inputs):
            low, high = model(inputs).T
            return torch.stack([low, high, 2 * high - 100], dim=1)

    (case,) = cases(attack="bim", eps=epsilons(0.0, 0.1, 0.02), target=2, min_acc=0.9)
    parts = Parts(Third(), (x, y), None, (0, 1), None)
    robustness = Session(Settings(examples=tmp_path)).guard(case.contract, parts, "test_it.py::a")
    small, _ = robustness(0.02), robustness(0.1)
    kept = robustness._proof.kept.of("unfiltered")
    moved = {each.sample: (each.adversarial - x[each.sample]).abs().max() for each in kept}
    assert sum(far <= 0.02 + 1e-6 for far in moved.values()) >= small.unfiltered.beaten > 0
    judged = robustness.check()
    assert judged.verdict.outcome == "failed"
    ((note, stored),) = [(load(path).note, load(path)) for path in tmp_path.glob("*.safetensors")]
    assert len(note.examples) == min(16, judged.evaluation.unfiltered.beaten)
    changed = (stored.adversarial - stored.inputs).flatten(1).abs().amax(dim=1)
    assert (changed > 0).all()
    assert (changed <= note.eps + 1e-6).all()
