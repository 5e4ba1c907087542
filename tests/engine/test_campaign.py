"""Knowledge carried between budgets: what it saves, and that it changes no outcome."""

import gc
import weakref
from copy import deepcopy
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

from pytest_aerobust import ContractError, Evaluation, check, curve, epsilons, evaluate
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.contract.targets import checked_target
from pytest_aerobust.contract.waivers import CHECKS, checked_waivers
from pytest_aerobust.measurement.binding import Parts
from pytest_aerobust.measurement.campaign import Campaign
from pytest_aerobust.measurement.ledger import Ledger
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.session import Session
from pytest_aerobust.subjects.subject import build_subject

ALONE = checked_waivers(dict.fromkeys(CHECKS, "the search itself is looked at"))
BUDGETS = (0.01, 0.02, 0.04, 0.06, 0.1)


def campaign(
    model, data, attack="bim", *, filter=None, threat="white-box", target=None, off=ALONE, norm=None
):
    measurement = Measurement(
        chosen(attack, norm, None, None), 0.0, threat, checked_target(target), waivers=off
    )
    return Campaign(build_subject(model, data, filter), measurement, remembered={})


class Counting(nn.Module):
    """Counts the samples that it is asked about with gradients."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, 0

    def forward(self, x):
        self.asked += len(x) if x.requires_grad else 0
        return self.model(x)


@pytest.mark.parametrize("threat", ["white-box", "gray-box"])
@pytest.mark.parametrize("attack", ["fgsm", "bim", "pgd"])
def test_outcomes_are_those_of_a_measurement_alone(attack, threat, linear_problem):
    """Where balls decide who falls, carrying changes no outcome, whatever the order."""
    model, x, y = linear_problem
    for order in (BUDGETS, BUDGETS[::-1], (0.04, 0.1, 0.01, 0.06, 0.02)):
        carried = campaign(model, (x, y), attack, filter=nn.Identity(), threat=threat)
        for eps in order:
            carried.measure(eps)
        for eps in BUDGETS:
            alone = campaign(model, (x, y), attack, filter=nn.Identity(), threat=threat)
            expected = alone.measure(eps)
            for name, arm in carried.known(eps).arms.items():
                assert arm.outcomes == expected.arms[name].outcomes, (name, eps, order)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.permutations(BUDGETS), st.sampled_from(["fgsm", "pgd", "mi-fgsm"]), st.booleans())
def test_a_curve_never_rises(digits, digits_model, order, attack, fresh):
    """In whatever order budgets are attacked, a larger one leaves no more survivors."""
    found = campaign(digits_model, tuple(part[:120] for part in digits), attack)
    for eps in order:
        found.measure(eps, fresh=fresh)
    survivors = [found.known(eps).unfiltered.survivors for eps in BUDGETS]
    assert survivors == sorted(survivors, reverse=True)
    for eps in order:
        assert found.measure(eps).unfiltered.survivors == found.known(eps).unfiltered.survivors


def test_only_the_undecided_are_attacked(digits, digits_model):
    """What is withstood at a larger budget, or beaten inside a smaller one, costs nothing."""
    model = Counting(digits_model)
    found = campaign(model, tuple(part[:200] for part in digits))
    large = found.measure(0.1).unfiltered
    after_large = model.asked
    again = found.measure(0.1).unfiltered
    assert again.outcomes == large.outcomes
    assert model.asked == after_large
    small = found.measure(0.03)
    # Ten steps at most for each of those who fell at 0.1 and may stand at 0.03.
    assert 0 < model.asked - after_large <= 10 * large.beaten
    (note,) = [note for note in small.notes if "withstood a larger budget than 0.03" in note]
    assert note.startswith(f"{large.survivors} of 200 samples count as withstood")


def test_a_fresh_measurement_attacks_everybody_once(digits, digits_model):
    """It leans on no other budget; who has faced this very budget faces it no more."""
    model = Counting(digits_model)
    data = tuple(part[:200] for part in digits)
    found = campaign(model, data)
    found.measure(0.1)
    found.measure(0.03)
    before = model.asked
    fresh = found.measure(0.03, fresh=True)
    spent = model.asked - before
    assert not any("count as withstood" in note for note in fresh.notes)
    alone = campaign(model, data).measure(0.03)
    assert fresh.unfiltered.survivors <= alone.unfiltered.survivors
    assert spent >= 10 * 0.5 * found.known(0.1).unfiltered.survivors
    before = model.asked
    found.measure(0.03, fresh=True)
    assert model.asked == before


def test_what_is_beaten_nearer_is_beaten_farther():
    """A witness found in a small ball counts in every larger one, also one that was withstood."""
    ledger = Ledger(3, targeted=False)
    rows = torch.tensor([0, 1])
    ledger.saw_end(rows, 0.3)
    ledger.saw_examples(
        rows[:1], torch.tensor([0.1], dtype=torch.float64), rows[:1], torch.tensor([False])
    )
    assert bytes(ledger.outcomes(0.3).tolist()).decode() == "bs?"
    assert bytes(ledger.outcomes(0.05).tolist()).decode() == "ss?"
    assert bytes(ledger.outcomes(0.4).tolist()).decode() == "b??"


def test_targets_are_hunted_until_a_search_ends():
    """Beaten short of the target stays open at budgets that no search has ended at, and has not
    withstood the smaller ones.
    """
    ledger = Ledger(3, targeted=True)
    rows, far = torch.tensor([0, 1]), torch.tensor([0.1, 0.1], dtype=torch.float64)
    ledger.saw_examples(rows, far, torch.tensor([5, 6]), torch.tensor([False, True]))
    assert bytes(ledger.outcomes(0.2).tolist()).decode() == "ht?"
    ledger.saw_end(rows[:1], 0.2)
    assert bytes(ledger.outcomes(0.2).tolist()).decode() == "bt?"
    assert bytes(ledger.outcomes(0.05).tolist()).decode() == "???"
    assert bytes(ledger.outcomes(0.3).tolist()).decode() == "ht?"


def test_target_hits_are_carried(digits, digits_model):
    """Hits, beaten samples and answers at a smaller budget are those of a measurement alone."""
    data = tuple(part[:150] for part in digits)
    found = campaign(digits_model, data, target=3)
    found.measure(0.1)
    carried, alone = found.measure(0.04), campaign(digits_model, data, target=3).measure(0.04)
    assert carried.targets == alone.targets
    hits = carried.unfiltered.outcomes.count("t")
    assert hits >= alone.unfiltered.outcomes.count("t") > 0
    answered = {cell[:2]: cell[2] for cell in carried.unfiltered.confusion}
    assert sum(n for (actual, said), n in answered.items() if said == 3 != actual) >= hits


def guarded(model, data, eps, **floors):
    (case,) = cases(attack="fgsm", eps=eps, **floors)
    parts = Parts(model, data, None, (0, 1), None)
    return Session(Settings()).guard(case.contract, parts, "test_it.py::test_it").check()


@pytest.mark.parametrize("seed", range(50))
def test_the_smallest_failing_budget_of_a_linear_model(seed):
    """It is the grid point above the budget that is known in closed form, and a fresh run there
    gives the reported number or a weaker one.
    """
    rng = np.random.default_rng(seed)
    weight = torch.tensor(rng.normal(size=8), dtype=torch.float32)
    x = torch.tensor(rng.uniform(0.4, 0.6, (40, 8)), dtype=torch.float32)
    model = nn.Linear(8, 2)
    with torch.no_grad():
        model.weight.copy_(torch.stack([-weight, weight]))
        model.bias.copy_(torch.tensor([1.0, -1.0]) * (x.mean(dim=0) @ weight))
    with torch.no_grad():
        logits = model(x).double()
    y = logits.argmax(dim=1)
    flips = ((logits[:, 1] - logits[:, 0]).abs() / (2 * weight.double().abs().sum())).sort().values
    floor = Fraction(int(rng.integers(12, 38)), 40)
    # Below the floor once one more falls than it allows.
    known = flips[40 - floor.numerator * 40 // floor.denominator].item()
    step = [0.0007, 1 / 255, 0.002][seed % 3]
    points = epsilons(0.0, 0.3, step).points()
    judged = guarded(model, (x, y), epsilons(0.0, 0.3, step), min_acc=float(floor))
    above = next(eps for eps in points if eps > known)
    assert judged.verdict.outcome == "failed"
    assert judged.boundary.failing == above
    assert judged.evaluation.eps == above
    fresh = evaluate(model, (x, y), attack="fgsm", eps=above).unfiltered
    assert fresh.accuracy >= float(judged.evaluation.unfiltered.accuracy_interval.low)
    assert fresh.accuracy < float(floor)


def test_every_step_of_a_curve_is_settled(linear_problem):
    """A floor that is broken at one step alone is found there, whatever is drawn."""
    model, x, y = linear_problem
    budgets = epsilons(0.0, 0.05, step=0.001, max_examples=1)
    holds = {0.01: 0.2, 0.03: 0.1, 0.05: 0.0}
    accuracy = evaluate(model, (x, y), attack="fgsm", eps=0.01).unfiltered.accuracy
    assert guarded(model, (x, y), budgets, min_acc=holds).verdict.outcome == "passed"
    broken = guarded(model, (x, y), budgets, min_acc={**holds, 0.01: accuracy + 0.01})
    assert broken.verdict.outcome == "failed"
    assert broken.boundary.failing <= 0.01

    def formula(eps):
        return accuracy + 0.01 if 0.004 < eps <= 0.01 else 0.0 if eps > 0.01 else 1.0

    found = guarded(model, (x, y), budgets, min_acc=formula)
    alone = {eps: evaluate(model, (x, y), attack="fgsm", eps=eps) for eps in budgets.points()}
    breaking = [eps for eps, each in alone.items() if each.unfiltered.accuracy < formula(eps)]
    assert found.boundary.failing == min(breaking)


def test_a_curve_of_a_linear_model(linear_problem):
    """Accuracies, quantiles and the area follow the closed form, and the nearest budgets too."""
    model, x, y = linear_problem
    points = [0.005 * step for step in range(1, 11)]
    found = curve(model, (x, y), points, attack="fgsm")
    flips = model.margins(x) / model.weight.double().abs().sum()
    assert found.filtered is None
    assert [each.eps for each in found.evaluations] == pytest.approx(points)
    for eps, accuracy in zip(found.unfiltered.eps, found.unfiltered.accuracy, strict=True):
        assert accuracy == (flips > eps).double().mean().item()
    nearest = torch.tensor(found.unfiltered.nearest, dtype=torch.float64)
    assert (nearest >= flips - 1e-6).all()
    assert ((nearest - flips)[nearest < torch.inf] <= 0.005 + 1e-6).all()
    assert torch.equal(nearest.isinf(), flips > 0.05)
    assert found.unfiltered.quantile(0.5) == found.unfiltered.median
    assert abs(found.unfiltered.median - flips.median().item()) <= 0.005
    heights = [1.0, *found.unfiltered.accuracy]
    assert found.unfiltered.area == pytest.approx(np.trapezoid(heights, [0, *points]) / 0.05)
    assert found.unfiltered.quantile(1.0) == float("inf")


def test_a_minimising_attack_is_run_once(linear_problem):
    """DeepFool's distances give the whole curve: smaller budgets ask for no further gradient."""
    model, x, y = linear_problem
    counting = Counting(model)
    measured = campaign(counting, (x, y), "deepfool", norm="l2")
    measured.measure(0.3)
    before = counting.asked
    found = measured.curve([0.02 * step for step in range(1, 16)]).unfiltered
    assert counting.asked == before
    flips = model.margins(x) / torch.linalg.vector_norm(model.weight.double())
    for eps, accuracy in zip(found.eps, found.accuracy, strict=True):
        assert abs(accuracy - (flips > eps).double().mean().item()) <= 0.01


def test_both_arms_have_a_curve(digits, digits_model, digits_filter):
    """With a filter there are two; the figure of a paper takes their evaluations as they are."""
    figures = pytest.importorskip("pytest_aerobust.figures")
    data = tuple(part[:100] for part in digits)
    told = {"filter": digits_filter, "attack": "bim"}
    evaluation = evaluate(digits_model, data, eps=0.2, **told)
    found = curve(digits_model, data, [0.05, 0.1, 0.2], **told)
    for arm, known in (("unfiltered", found.unfiltered), ("filtered", found.filtered)):
        assert known.clean_accuracy == evaluation.arms[arm].clean_accuracy
        assert known.accuracy[-1] == evaluation.arms[arm].accuracy
        assert list(known.accuracy) == sorted(known.accuracy, reverse=True)
        wrong = sum(each == 0 for each in known.nearest)
        assert wrong == evaluation.arms[arm].samples - evaluation.arms[arm].correct
    figure = figures.accuracy_curves(found.evaluations)
    assert figures.to_png(figure).startswith(b"\x89PNG")


def test_a_contract_has_a_curve(linear_problem):
    """By default ten equal steps up to its budget, or the largest; what varies is as stated."""
    model, x, y = linear_problem
    points = pytest.approx([0.005 * step for step in range(1, 11)])
    expected = curve(model, (x, y), points.expected, attack="fgsm").unfiltered.accuracy
    for stated in (
        {"eps": 0.05},
        {"eps": epsilons(0.01, 0.05)},
        {"eps": 0.05, "vary": {"seed": st.integers(0, 9)}},
    ):
        (case,) = cases(attack="fgsm", min_acc=0.1, **stated)
        parts = Parts(model, (x, y), None, (0, 1), None)
        found = Session(Settings()).guard(case.contract, parts, "test").curve().unfiltered
        assert found.eps == points
        assert found.accuracy == expected


def test_an_evaluation_keeps_neither_model_nor_data(linear_problem):
    """Twenty checkpoints compared in a list keep no model, and what they answered is read back."""
    model, x, y = linear_problem
    kept, found = [], []
    for _ in range(3):
        checkpoint, data = deepcopy(model), TensorDataset(x.clone(), y.clone())
        kept += [weakref.ref(checkpoint), weakref.ref(data)]
        told = {"model": checkpoint, "data": data, "attack": "fgsm"}
        found.append(evaluate(eps=0.05, **told))
        found.append(check(eps=0.05, min_acc=0.1, **told))
        found.append(curve(budgets=[0.05], **told))
    del checkpoint, data, told
    gc.collect()
    assert [each() for each in kept] == [None] * len(kept)
    assert Evaluation.from_dict(found[0].to_dict()) == found[0]


def test_bad_budgets_of_a_curve(linear_problem):
    """None, one that is no budget, a text; and a quantile that is no share."""
    model, x, y = linear_problem
    for budgets, words in (([], "at least one budget"), ([-0.1], "at least 0"), (["a"], "number")):
        with pytest.raises(ContractError, match=words):
            curve(model, (x, y), budgets, attack="fgsm")
    with pytest.raises(ContractError, match=r"share of the samples"):
        curve(model, (x, y), [0.01], attack="fgsm").unfiltered.quantile(50)


def test_a_minimum_short_of_the_target_settles_no_larger_budget():
    """Who was beaten, but not at the target, is hunted again in a larger ball, and in a smaller."""
    ledger = Ledger(2, targeted=True)
    rows, near = torch.tensor([0, 1]), torch.tensor([0.1, 0.1], dtype=torch.float64)
    ledger.saw_examples(rows, near, torch.tensor([5, 6]), torch.tensor([False, True]))
    ledger.saw_end(rows[:1], 0.2)
    ledger.saw_minimum(rows)
    assert bytes(ledger.outcomes(0.2).tolist()).decode() == "bt"
    assert bytes(ledger.outcomes(0.3).tolist()).decode() == "ht"
    assert bytes(ledger.outcomes(0.05).tolist()).decode() == "?s"


def test_a_curve_settles_no_verdict(digits, digits_model):
    """Nobody weighs the evidence of its smaller budgets, so a contract takes none of them over."""
    found = campaign(digits_model, tuple(part[:100] for part in digits))
    evaluation = found.measure(0.1)
    before = found.known(0.03).unfiltered.outcomes
    assert "?" in before
    assert found.curve([0.03, 0.1]).unfiltered.accuracy[0] > evaluation.unfiltered.accuracy
    assert found.known(0.03).unfiltered.outcomes == before


def test_doubts_about_derived_targets_are_told_at_every_budget(linear_problem):
    """The table is derived once, from the first budget; so is what is to be said of it."""
    model, x, y = linear_problem

    class Blind(nn.Module):
        def forward(self, inputs):
            logits = model(inputs)
            return logits.detach() + 0 * logits

    found = campaign(Blind(), (x, y), target="natural")
    for eps in (0.05, 0.02):
        notes = found.measure(eps).notes
        assert any("the targets come from the untargeted attack" in note for note in notes)


class First(nn.Module):
    """Logits [-z, z] of how far the first of two features lies above 0.5."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 0.0]))

    def forward(self, x):
        z = (x - 0.5) @ self.weight
        return torch.stack([-z, z], dim=1)


class Backed(nn.Module):
    """A filter that adds to the first feature how far the second lies above 0.5."""

    def forward(self, x):
        return torch.stack([x[:, 0] + x[:, 1] - 0.5, x[:, 1]], dim=1)


def test_a_gain_is_guarded_although_another_budget_fails():
    """What is found later may mend a gain, so a pass beside a failure keeps its evidence."""
    distances = torch.tensor([0.05, 0.15, 0.25, 0.35, 0.45]).repeat(8)
    sides = torch.tensor([-1.0, 1.0]).repeat_interleave(20)
    # Bare, a sample falls at its distance; behind the filter halfway from there to 0.45.
    inputs = 0.5 + sides[:, None] * torch.stack([distances, torch.full((40,), 0.45)], dim=1)
    failing, passing = 0.03, 0.1
    (case,) = cases(attack="bim", eps=epsilons(0.01, 0.3), min_gain=0.2)
    parts = Parts(First(), (inputs, (sides > 0).long()), Backed(), (0, 1), None)
    robustness = Session(Settings()).guard(case.contract, parts, "test_it.py::test_it")
    assert not robustness._proof.holds(failing)
    assert robustness._proof.holds(passing)
    assert "noise" in {finding.name for finding in robustness(passing).evidence}
    for eps, gain in ((failing, 0), (passing, 8)):
        found = robustness(eps)
        assert found.filtered.survivors - found.unfiltered.survivors == gain
