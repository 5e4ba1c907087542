"""Auto-PGD against answers in closed form, its projections against an independent optimiser."""

import foolbox
import numpy as np
import pytest
import torch
from foolbox.attacks import LinfBasicIterativeAttack
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pytest_aerobust import evaluate
from pytest_aerobust.attacks.auto_pgd.attack import L1APGDCE, L2APGDT, LinfAPGDDLR
from pytest_aerobust.attacks.balls import L1Ball, L2Ball, LinfBall
from pytest_aerobust.attacks.losses import cross_entropy, dlr, margin, towards
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.subject import build_subject

ATTACKS = ["apgd-ce", "apgd-dlr", "apgd-t"]
DUAL = {"linf": 1, "l2": 2, "l1": float("inf")}
# In the middle of the margins of the linear problem, in each norm.
BUDGETS = {"linf": [0.003, 0.01, 0.03], "l2": [0.01, 0.03, 0.1], "l1": [0.02, 0.05, 0.15]}


def survivors(evaluation):
    return torch.tensor([letter == "s" for letter in evaluation.unfiltered.outcomes])


@pytest.mark.parametrize(("norm", "eps"), [(n, e) for n in BUDGETS for e in BUDGETS[n]])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_linear_model_flips_at_its_closed_form_budget(attack, norm, eps, linear_problem):
    """A sample falls exactly where eps exceeds its margin over the dual norm of the weights."""
    model, x, y = linear_problem
    distance = model.margins(x) / torch.linalg.vector_norm(model.weight.double(), ord=DUAL[norm])
    clear = (distance - eps).abs() > 1e-4 * eps
    survived = survivors(evaluate(model, (x, y), attack=attack, norm=norm, eps=eps, steps=40))
    assert torch.equal(survived[clear], distance[clear] > eps)
    assert 0 < survived.float().mean() < 1


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_at_the_bounds_the_budget_is_spent_where_there_is_room(norm, linear_problem):
    """Where most coordinates sit at a bound, Auto-PGD still reaches the optimum of the rest."""
    model, _, _ = linear_problem
    x = (torch.rand(100, 16, generator=torch.Generator().manual_seed(4)) > 0.5).float()
    y = model(x).argmax(dim=1)
    eps = {"l2": 0.8, "l1": 1.2}[norm]
    toward = torch.where(y == 1, -1.0, 1.0)[:, None] * model.weight.detach()
    reached = np.stack([_linear_optimum(*pair, eps, norm) for pair in zip(x, toward, strict=True)])
    z = torch.tensor(reached) @ model.weight.double() + model.bias.double()
    clear = z.abs() > 1e-3
    falls = (z > 0).long() != y
    survived = survivors(evaluate(model, (x, y), attack="apgd-ce", norm=norm, eps=eps))
    assert torch.equal(~survived[clear.detach()], falls[clear.detach()])
    assert 0 < survived.float().mean() < 1


def _linear_optimum(x, toward, eps, norm):
    """The point of ball and unit box that lies farthest along `toward`, by bisection or greed."""
    x, gain = x.double().numpy(), toward.double().numpy()
    room = np.where(gain > 0, 1 - x, x)
    if norm == "l1":
        spent, order = np.zeros_like(x), np.argsort(-np.abs(gain))
        for place in order:
            spent[place] = min(room[place], eps - spent.sum())
        return x + np.sign(gain) * spent
    low, high = 0.0, 1e6
    for _ in range(200):
        scale = (low + high) / 2
        moves = np.minimum(scale * np.abs(gain), room)
        low, high = (scale, high) if np.linalg.norm(moves) < eps else (low, scale)
    return x + np.sign(gain) * np.minimum(low * np.abs(gain), room)


@st.composite
def projections(draw):
    """A centre inside bounds of its own for each feature, a point anywhere, a radius."""
    size = draw(st.integers(1, 6))
    numbers = st.floats(0, 1, width=32)
    low = np.array(draw(st.lists(numbers, min_size=size, max_size=size)))
    span = np.array(draw(st.lists(numbers, min_size=size, max_size=size)))
    place = np.array(draw(st.lists(numbers, min_size=size, max_size=size)))
    away = st.floats(-2, 2, width=32)
    point = np.array(draw(st.lists(away, min_size=size, max_size=size)))
    eps = draw(st.floats(0.05, 2))
    return low, low + span, low + place * span, point, eps


@settings(max_examples=60, deadline=None)
@given(projections())
@pytest.mark.parametrize(("ball", "order"), [(LinfBall, np.inf), (L2Ball, 2), (L1Ball, 1)])
def test_a_projection_is_the_nearest_point_of_ball_and_bounds(ball, order, drawn):
    """Inside both, and nobody else inside both is nearer: not what a general optimiser finds."""
    low, high, centre, point, eps = drawn
    box = torch.tensor(low), torch.tensor(high)
    found = ball.project(torch.tensor(point)[None], torch.tensor(centre)[None], eps, box)[0].numpy()
    assert (found >= low).all()
    assert (found <= high).all()
    assert np.linalg.norm(found - centre, order) <= eps * (1 + 1e-9) + 1e-9
    rival = _optimised(point, centre, eps, order, low, high)
    assert np.sum((found - point) ** 2) <= np.sum((rival - point) ** 2) + 1e-6


def _optimised(point, centre, eps, order, low, high):
    """The projection by SLSQP over the two signed halves of the move, pulled inside."""
    size = len(point)
    room = np.concatenate([high - centre, centre - low])
    if order == np.inf:
        room = np.minimum(room, eps)

    def move(halves):
        return halves[:size] - halves[size:]

    def left(halves):
        return eps - halves.sum() if order == 1 else eps**2 - np.sum(halves**2)

    limits = [] if order == np.inf else [{"type": "ineq", "fun": left}]
    start = np.zeros(2 * size)
    found = minimize(
        lambda halves: np.sum((centre + move(halves) - point) ** 2),
        start,
        bounds=[(0, max(r, 0)) for r in room],
        constraints=limits,
        method="SLSQP",
    )
    moves = move(np.clip(found.x, 0, np.maximum(room, 0)))
    length = np.linalg.norm(moves, order)
    return centre + moves * min(1.0, eps / length if length else 1.0)


@pytest.mark.parametrize("ball", [LinfBall, L2Ball, L1Ball])
def test_noise_fills_the_unit_ball(ball):
    """Draws lie inside, and as many within half the radius as the volume there says."""
    order = {LinfBall: np.inf, L2Ball: 2, L1Ball: 1}[ball]
    generator = np.random.default_rng(0)
    lengths = np.array([np.linalg.norm(ball.noise(generator, 3), order) for _ in range(4000)])
    assert lengths.max() <= 1 + 1e-12
    assert abs(np.mean(lengths < 0.5) - 0.5**3) < 0.02


def test_losses_against_their_formulas():
    """Equations 6 and 7 of Croce & Hein 2020 by hand, with the sign of the attacker's gain."""
    logits = torch.tensor([[5.0, 1.0, 4.0, 2.0, 0.0]])
    label, target = torch.tensor([0]), torch.tensor([3])
    assert margin(logits, label).item() == -1.0
    assert margin(logits, label, target).item() == -3.0
    assert dlr(logits, label).item() == pytest.approx(-(5 - 4) / (5 - 2))
    assert towards(logits, label, target).item() == pytest.approx(-(5 - 2) / (5 - (2 + 1) / 2))
    assert dlr(logits, label, target).item() == pytest.approx((2 - 5) / (5 - 1.5))
    assert cross_entropy(logits, label, target).item() < cross_entropy(logits, label).item()


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_dlr_is_blind_to_the_scale_of_the_logits(scale):
    """Logits times a hundred saturate the cross entropy; the ratio of differences stays."""
    logits = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    labels = logits.argmax(dim=1)
    logits = logits.double()
    assert torch.allclose(dlr(scale * logits + 3, labels), dlr(logits, labels))


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("loss", [dlr, towards])
def test_ties_and_few_classes_give_finite_losses(loss, classes):
    """With too few classes the margin takes the ratio's place, and a tie divides by nothing."""
    logits = torch.zeros(1, classes, requires_grad=True)
    value = loss(logits, torch.tensor([0]), torch.tensor([1]))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.item() == 0
    assert gradient.isfinite().all()
    if classes == 2:
        drawn = torch.tensor([[3.0, 1.0]])
        assert loss(drawn, torch.tensor([0]), torch.tensor([1])).item() == -2.0


class Saturated(torch.nn.Module):
    """Logits so large that the cross entropy of a right answer has no gradient left."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return 500 * self.model(x)


def test_dlr_sees_through_saturated_logits(digits, digits_model):
    """Where Foolbox's BIM finds next to nothing, Auto-PGD on the ratio still beats nearly all."""
    inputs, labels = (part[:60] for part in digits)
    model = Saturated(digits_model)
    fmodel = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    _, _, beaten = LinfBasicIterativeAttack()(fmodel, inputs, labels, epsilons=0.15)
    seeing = evaluate(model, (inputs, labels), attack="apgd-dlr", eps=0.15, steps=10).unfiltered
    assert 1 - seeing.accuracy > beaten.float().mean() + 0.3


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_neither_chunks_nor_company_change_who_falls(attack, norm, digits, digits_model):
    """Random starts belong to a sample, whoever is searched beside it."""
    inputs, labels = (part[:40] for part in digits)
    eps = {"linf": 0.08, "l2": 1.0, "l1": 6.0}[norm]
    measurement = Measurement(chosen(attack, norm, 5, None), eps, "white-box")

    def outcomes(count, chunk):
        subject = build_subject(digits_model, (inputs[:count], labels[:count]))
        return measure(subject, measurement, chunk=chunk).unfiltered.outcomes

    whole = outcomes(40, 40)
    assert whole == outcomes(40, 7)
    assert whole[:20] == outcomes(20, 20)
    assert 0 < whole.count("b") < 40


def test_restarts_count_together(digits, digits_model):
    """Whom any start beats is beaten: more starts only ever beat more (BAD INPUTS 3.5)."""
    data = tuple(part[:200] for part in digits)
    settings = {"attack": "apgd-ce", "eps": 0.12, "steps": 2}
    once, often = (
        survivors(evaluate(digits_model, data, **settings, attack_args={"restarts": restarts}))
        for restarts in (1, 6)
    )
    assert not (often & ~once).any()
    assert often.sum() < once.sum()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_target_is_reached(attack, digits, digits_model):
    """With a target most samples end there, and hits are counted among the attacked."""
    data = tuple(part[:60] for part in digits)
    arm = evaluate(digits_model, data, attack=attack, eps=0.3, target=3, steps=30).unfiltered
    assert arm.target_hits > 0.9


@pytest.mark.parametrize(
    ("attack", "eps"),
    [(LinfAPGDDLR(steps=10), 0.2), (L2APGDT(steps=10, classes=2), 1.5), (L1APGDCE(steps=10), 12.0)],
    ids=lambda value: type(value).__name__,
)
def test_foolbox_runs_it_too(attack, eps, digits, digits_model):
    """Called as any Foolbox attack it beats most samples, inside ball and bounds."""
    inputs, labels = (part[:32] for part in digits)
    model = foolbox.PyTorchModel(digits_model, bounds=(0, 1), device="cpu")
    _, found, beaten = attack(model, inputs, labels, epsilons=eps)
    assert beaten.float().mean() > 0.5
    assert found.min() >= 0
    assert found.max() <= 1
    order = attack.distance.p
    lengths = torch.linalg.vector_norm((found - inputs).flatten(1).double(), ord=order, dim=1)
    assert lengths.max() <= eps * (1 + 1e-5)


def test_foolbox_targets_are_reached(digits, digits_model):
    """Foolbox's targeted criterion retires a sample at its target alone."""
    inputs, labels = (part[:32] for part in digits)
    model = foolbox.PyTorchModel(digits_model, bounds=(0, 1), device="cpu")
    goal = foolbox.criteria.TargetedMisclassification((labels + 1) % 10)
    _, found, reached = LinfAPGDDLR(steps=30)(model, inputs, goal, epsilons=0.3)
    assert reached.float().mean() > 0.7
    assert torch.equal(digits_model(found).argmax(dim=1)[reached], ((labels + 1) % 10)[reached])
