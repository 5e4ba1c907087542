"""What is carried between budgets never makes a contract pass that a measurement alone breaks."""

import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from pytest_aerobust import ContractError, curve, epsilons, evaluate
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.contract.waivers import CHECKS
from pytest_aerobust.measurement.binding import Parts
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.session import Session

ALONE = dict.fromkeys(CHECKS, "the search itself is looked at")


def guarded(model, data, filter=None, full=False, **stated):
    """A contract bound to its parts, as a test has it."""
    (case,) = cases(**stated)
    parts = Parts(model, data, filter, (0, 1), None)
    return Session(Settings(full=full)).guard(case.contract, parts, "test_suite.py::test_it")


class Border(nn.Module):
    """Logits [-z, z]: a sample flips at its distance from 0.5 in the features that count."""

    def __init__(self, *counting):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(counting or (1.0, 1.0, 1.0, 1.0)))

    def forward(self, x):
        z = ((x - 0.5) * self.weight).sum(dim=1)
        return torch.stack([-z, z], dim=1)


class Corner(nn.Module):
    """Three classes; the way to the third leads past the border of the first two."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        a, b, c = (x[:, :3] - 0.5).unbind(dim=1)
        logits = torch.stack([-(a + b), a + b, 2 * c - 1.5 + 0.5 * (a + b)], dim=1)
        return 5 * self.scale * logits


@pytest.fixture(scope="module")
def corner():
    inputs = torch.rand(300, 4, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    model = Corner()
    with torch.no_grad():
        return model, (inputs, model(inputs).argmax(dim=1))


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_who_is_beaten_short_of_the_target_withstood_nothing(corner, attack):
    """At smaller budgets such a sample is attacked anew, and the curve is that of each alone."""
    model, data = corner
    budgets = (0.05, 0.1, 0.2, 0.3)
    told = {"attack": attack, "target": 2, "waive": ALONE}
    found = curve(model, data, budgets, **told).unfiltered.accuracy
    alone = [evaluate(model, data, eps=eps, **told).unfiltered.accuracy for eps in budgets]
    assert found == pytest.approx(alone, abs=0.01 if attack == "pgd" else 0)


def test_a_range_with_a_target_fails_where_a_budget_does(corner):
    """A floor that the attack alone breaks at 0.2 is broken, although 0.3 was attacked first."""
    stated = {"eps": epsilons(0.02, 0.3, 0.01), "target": 2, "min_acc": {0.2: 0.8, 0.3: 0.15}}
    judged = guarded(*corner, attack="fgsm", **stated).check()
    assert judged.verdict.outcome == "failed"
    assert judged.boundary.failing == 0.06


@pytest.mark.parametrize("low", [1 / 255, 2 / 255])
def test_points_of_the_grid_are_what_a_user_writes(low):
    """k/255 is a point to the last bit, and no budget comes twice."""
    for high in range(3, 60):
        points = epsilons(low, high / 255).points()
        assert list(points) == [k / 255 for k in range(round(low * 255), high + 1)]
    assert epsilons(0, 16 / 255, 2 / 255).points() == tuple(k / 255 for k in range(0, 17, 2))
    assert epsilons(0, 0.3, 0.01).points() == tuple(k / 100 for k in range(31))


def test_a_step_of_a_function_lies_on_the_grid():
    """A floor that falls behind 8/255 is asked about at 8/255."""
    near = torch.tensor([6.5] * 2 + [7.5] * 18 + [30.0] * 80) / 255
    distances = torch.cat([near, -near])
    data = 0.5 + distances[:, None].expand(-1, 4), (distances > 0).long()
    stated = {
        "eps": epsilons(1 / 255, 16 / 255),
        "min_acc": lambda eps: 0.9 if eps <= 8 / 255 else 0.5,
    }
    judged = guarded(Border(), data, attack="bim", **stated).check()
    assert judged.verdict.outcome == "failed"
    assert judged.boundary.failing == 8 / 255


def natural(model, data, *asked):
    stated = {"eps": epsilons(0.0, 0.2, 0.05), "target": "natural", "max_target_hits": 0.5}
    contract = guarded(model, data, attack="fgsm", waive=ALONE, **stated)
    for eps in asked:
        contract(eps)
    judged = contract.check()
    return judged.verdict.outcome, judged.boundary.failing, contract().targets


def test_derived_targets_are_those_of_the_largest_budget(digits, digits_model):
    """Whatever a test's body asks first, the table is the same, and so is the verdict."""
    data = tuple(part[:100] for part in digits)
    told = {"attack": "fgsm", "target": "natural", "waive": ALONE}
    alone = {eps: evaluate(digits_model, data, eps=eps, **told).targets for eps in (0.0, 0.2)}
    assert alone[0.0] != alone[0.2]
    plain = natural(digits_model, data)
    assert plain[2] == alone[0.2]
    assert natural(digits_model, data, 0.0) == natural(digits_model, data, 0.05) == plain


class _Against(torch.autograd.Function):
    """Adds 0.06 away from the border, and leads an attacker's gradient the wrong way."""

    @staticmethod
    def forward(ctx, x):
        y = x.clone()
        y[:, :3] += 0.06 * torch.sign(x[:, 3:] - 0.5)
        return y

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Against(nn.Module):
    def forward(self, x):
        return _Against.apply(x)


@pytest.fixture(scope="module")
def misled():
    near = torch.linspace(0.005, 0.3, 100)
    distances = torch.cat([near, -near])
    inputs = 0.5 + distances[:, None].expand(-1, 4).clone()
    inputs[:, 3] = 0.5 + 0.4 * torch.sign(distances)
    return Border(1.0, 1.0, 1.0, 0.0), (inputs, (distances > 0).long())


def test_examples_of_the_bare_model_reach_the_pipeline_at_every_budget(misled):
    """A smaller budget that settles the bare arm takes nothing from the attacker of a larger."""
    stated = {"eps": epsilons(0.02, 0.2, 0.02), "min_acc": 0.65, "waive": ALONE}
    first = guarded(*misled, Against(), attack="fgsm", **stated)
    alone = first(0.2).filtered.accuracy
    second = guarded(*misled, Against(), attack="fgsm", **stated)
    second(0.1)
    assert second(0.2).filtered.accuracy == alone
    assert second.check().verdict.outcome == first.check().verdict.outcome == "failed"


def test_queries_of_a_range_are_those_that_were_asked(linear_problem):
    """What other budgets settle later does not hide what the attacker asked."""
    model, x, y = linear_problem
    stated = {"eps": epsilons(0.02, 0.3, 0.04), "queries": 40, "min_acc": 0.9}
    judged = guarded(model, (x[:40], y[:40]), attack="square", waive=ALONE, **stated).check()
    assert judged.verdict.outcome == "failed"
    assert judged.evaluation.queries.most > 0
    data, told = (x[:40], y[:40]), {"attack": "square", "queries": 40, "waive": ALONE}
    found = curve(model, data, [0.05, 0.1], **told)
    assert all(each.queries.most > 0 for each in found.evaluations)


def test_a_budget_that_the_body_asks_about_is_one_of_the_contract():
    """Where it fails, the smallest failing budget says so, whether or not it is on the grid."""
    near = torch.tensor([0.151] * 20 + [0.4] * 20)
    distances = torch.cat([near, -near])
    data = 0.5 + distances[:, None].expand(-1, 4), (distances > 0).long()
    stated = {
        "eps": epsilons(0.05, 0.25, 0.05),
        "min_acc": lambda eps: 0.9 if eps < 0.16 else 0.4,
        "waive": ALONE,
    }
    assert guarded(Border(), data, attack="bim", **stated).check().verdict.outcome == "passed"
    contract = guarded(Border(), data, attack="bim", **stated)
    contract(0.155)
    judged = contract.check()
    assert judged.verdict.outcome == "failed"
    assert judged.boundary.failing == 0.155


def test_the_weakest_draw_is_the_one_nearest_to_its_floor(corner):
    """A floor of target hits is told by the draw with the most of them."""
    model, data = corner
    contract = guarded(
        model,
        data,
        attack="bim",
        eps=0.3,
        target=0,
        max_target_hits=1.0,
        full=True,
        vary={"target": st.integers(0, 2)},
        waive=ALONE,
    )
    judged = contract.check()
    hits = [
        evaluate(
            model, data, attack="bim", eps=0.3, target=target, waive=ALONE
        ).unfiltered.target_hits
        for target in range(3)
    ]
    assert judged.evaluation.unfiltered.target_hits == max(hits)


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({"steps": st.none()}, "vary= drew"),
        ({"target": st.just(9)}, "vary= drew"),
        ({"steps": st.nothing()}, "yields nothing"),
    ],
)
def test_draws_that_can_not_be_meant_name_vary(corner, vary, words):
    """The error says that a strategy of the mark gave the value."""
    model, data = corner
    target = {"target": 0} if "target" in vary else {}
    contract = guarded(model, data, attack="bim", eps=0.1, min_acc=0.0, vary=vary, **target)
    with pytest.raises(ContractError, match=words):
        contract.check()


def test_strategies_and_curves_without_budgets(corner):
    """A strategy that yields nothing, and a number in place of a list, say what was expected."""
    model, data = corner
    contract = guarded(model, data, attack="bim", eps=st.nothing(), min_acc=0.1)
    with pytest.raises(ContractError, match="yields nothing"):
        contract.check()
    with pytest.raises(ContractError, match=r"curve\(budgets=0.1\): expected a list"):
        curve(model, data, 0.1, attack="fgsm")
