"""The worst case: as strong as its stages together, in closed form, and on real digits."""

from dataclasses import replace

import foolbox
import pytest
import torch

from pytest_aerobust import evaluate
from pytest_aerobust.attacks.auto_pgd.attack import LinfAPGD, LinfAPGDT
from pytest_aerobust.attacks.gradient import LinfFGSM
from pytest_aerobust.attacks.losses import margin
from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.attacks.square.attack import LinfSquare
from pytest_aerobust.attacks.worst_case import L1WorstCase, L2WorstCase, LinfWorstCase, Stage
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.catalogue import find
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.subject import build_subject

CASCADES = {"linf": LinfWorstCase, "l2": L2WorstCase, "l1": L1WorstCase}
DUAL = {"linf": 1, "l2": 2, "l1": float("inf")}
ORDERS = {"linf": torch.inf, "l2": 2, "l1": 1}
BUDGETS = {"linf": 0.08, "l2": 1.0, "l1": 6.0}


class Short(LinfWorstCase):
    """Every kind of stage, in a few steps each."""

    stages = (
        Stage("FGSM", LinfFGSM()),
        Stage("APGD-T", LinfAPGDT(steps=4, classes=2)),
        Stage("Square", LinfSquare(steps=10)),
        Stage("more Square", LinfSquare(steps=60), led=True),
        Stage("APGD", LinfAPGD(steps=5), 0.5, warm=True),
        Stage("Square at last", LinfSquare(steps=40), 0.5, warm=True),
    )


class Spy(LinfSquare):
    """A stage that runs what it is given."""

    def __init__(self, run):
        super().__init__(steps=1)
        self.improve = run


def survivors(evaluation):
    return torch.tensor([letter == "s" for letter in evaluation.unfiltered.outcomes])


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("l2", 0.05), ("l1", 0.1)])
def test_a_linear_model_flips_at_its_closed_form_budget(norm, eps, linear_problem):
    """A sample falls exactly where eps exceeds its margin over the dual norm of the weights."""
    model, x, y = linear_problem
    distance = model.margins(x) / torch.linalg.vector_norm(model.weight.double(), ord=DUAL[norm])
    clear = (distance - eps).abs() > 1e-4 * eps
    data = x[:60], y[:60]
    survived = survivors(evaluate(model, data, attack="worst-case", norm=norm, eps=eps))
    assert torch.equal(survived[clear[:60]], (distance > eps)[:60][clear[:60]])
    assert 0 < survived.float().mean() < 1


class Misled:
    """Retires whom the model errs on, and keeps what it was shown."""

    def __init__(self, problem):
        self.problem, self.gradients = problem, []
        self.beaten = torch.zeros(len(problem.inputs), dtype=torch.bool)
        self.shown = {}

    def retired(self, rows, iterates, logits):
        wrong = logits.argmax(dim=1) != self.problem.labels[rows]
        assert not self.beaten[rows].any(), "a stage went on with a sample that had retired"
        self.beaten[rows[wrong]] = True
        self.shown.update(zip(rows[wrong].tolist(), iterates[wrong], strict=True))
        return wrong

    def saw_gradients(self, rows, gradients):
        self.gradients.append(len(rows))

    def saw_answers(self, rows):
        """Nobody counts here."""


def problem_of(model, inputs, labels, eps):
    numbers = torch.arange(len(inputs)).numpy()
    return Problem(
        ask=model,
        gradient=lambda loss, x: torch.autograd.grad(loss, x)[0],
        inputs=inputs,
        labels=labels,
        targets=None,
        eps=eps,
        bounds=Box.of((0.0, 1.0)),
        places=numbers,
        samples=numbers,
        seed=3,
    )


@pytest.mark.parametrize("norm", CASCADES)
def test_it_is_at_least_as_strong_as_every_stage(norm, digits, digits_model):
    """Whom a stage beats alone, the cascade beats; survivors go on, once the gradients are seen."""
    inputs, labels = (part[:16] for part in digits)
    right = digits_model(inputs).argmax(dim=1) == labels
    problem = problem_of(digits_model, inputs[right], labels[right], BUDGETS[norm])
    cascade = CASCADES[norm]()
    watcher = Misled(problem)
    found = cascade.search(problem, watcher)
    assert len(watcher.gradients) == 1
    assert 0 < watcher.beaten.sum() < len(watcher.beaten)
    for row, example in watcher.shown.items():
        assert torch.equal(found[-1][row], example)
        length = torch.linalg.vector_norm((example - problem.inputs[row]).flatten(), ORDERS[norm])
        assert length <= BUDGETS[norm] * (1 + 1e-5)
    alone = []
    for stage in cascade.stages[:4]:
        rival = Misled(problem)
        stage.search(problem, rival)
        alone.append(int(rival.beaten.sum()))
    # Another stream of random starts may bring in a sample that stands on the very border.
    assert watcher.beaten.sum() >= max(alone) - 1
    assert len(set(alone)) > 1


def test_it_says_what_it_did():
    """A report shows every stage with its steps, in words."""
    for kind in CASCADES.values():
        words = kind().strength["stages"]
        assert words.startswith(kind.stages[0].words)
        assert words.count(", then ") == len(kind.stages) - 1
        assert "queries" in words
        assert "steps" in words
    assert find("worst-case").threats[0] == "white-box"


def test_neither_chunks_nor_company_change_who_falls(digits, digits_model):
    """Draws belong to a sample, and how near it is to the border is judged by itself alone."""
    inputs, labels = (part[:40] for part in digits)
    measurement = Measurement(chosen(Short(), None, None, None), 0.08, "white-box")

    def outcomes(count, chunk):
        subject = build_subject(digits_model, (inputs[:count], labels[:count]))
        return measure(subject, measurement, chunk=chunk).unfiltered.outcomes

    whole = outcomes(40, 40)
    assert whole == outcomes(40, 7)
    assert whole[:20] == outcomes(20, 20)
    assert 0 < whole.count("b") < 40


def test_a_later_stage_goes_on_from_the_nearest_point(digits, digits_model):
    """A warm stage starts where an earlier one came nearest, and only what is near enters it."""
    inputs, labels = (part[:60] for part in digits)
    right = digits_model(inputs).argmax(dim=1) == labels
    problem = problem_of(digits_model, inputs[right], labels[right], 0.04)
    entered = []

    def spy(part, watcher, starts):
        entered.append((part, starts))
        return [starts]

    class Spied(LinfWorstCase):
        stages = (*Short.stages[:2], Stage("spy", Spy(spy), 0.5, warm=True))

    watcher = Misled(problem)
    Spied().search(problem, watcher)
    ((part, starts),) = entered
    assert 0 < len(starts) < int((~watcher.beaten).sum())
    clean, near = (margin(digits_model(points), part.labels) for points in (part.inputs, starts))
    assert (near >= 0.5 * clean).all()
    assert (near <= 0).all()


@pytest.mark.parametrize("threat", ["white-box", "gray-box"])
def test_behind_a_filter_it_beats_no_fewer_than_fgsm(threat, digits, digits_model, digits_filter):
    """On both arms, and where examples only transfer every stage's are tried."""
    data = tuple(part[:40] for part in digits)
    eps = {"white-box": 0.15, "gray-box": 0.25}[threat]
    arguments = {"filter": digits_filter, "eps": eps, "threat": threat}
    strong = evaluate(digits_model, data, attack=Short(), **arguments)
    weak = evaluate(digits_model, data, attack="fgsm", **arguments)
    for name, arm in strong.arms.items():
        assert arm.survivors <= weak.arms[name].survivors
    assert strong.filtered.survivors < 40


def test_a_target_is_reached(digits, digits_model):
    """With a target every stage leads there."""
    data = tuple(part[:40] for part in digits)
    strong = evaluate(digits_model, data, attack=Short(), eps=0.2, target=3).unfiltered
    weak = evaluate(digits_model, data, attack="fgsm", eps=0.2, target=3).unfiltered
    assert strong.target_hits > weak.target_hits
    assert strong.target_hits > 0.5


def test_a_tie_is_attacked_too(linear_problem):
    """An input on the border counts as right, and nothing of its margin is left to shrink."""
    model, x, y = linear_problem
    tied = replace(problem_of(model, x[:5], y[:5], 0.1), ask=lambda points: 0 * model(points))
    entered = []

    def spy(part, watcher, *starts):
        entered.append(len(part.inputs))
        return [part.inputs]

    class Spied(LinfWorstCase):
        stages = (Stage("all", Spy(spy)), Stage("near", Spy(spy), near=0.2, warm=True))

    Spied().search(tied, Misled(tied))
    assert entered == [5, 5]


class Stepped(torch.nn.Module):
    """Inputs rounded to 8 levels: no gradient passes, though scores still tell."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(torch.round(7 * x) / 7 + 0 * x)


def test_where_gradients_say_nothing_scores_lead_on(digits, digits_model):
    """Square goes on in full after those whom it alone brought nearer."""
    data = tuple(part[:12] for part in digits)
    model = Stepped(digits_model)
    told = {"eps": 0.4, "waive": {"noise": "the attacks alone are compared"}}
    blind = evaluate(model, data, attack="bim", **told).unfiltered
    found = evaluate(model, data, attack=Short(), **told)
    assert blind.beaten == 0
    assert found.unfiltered.beaten > found.unfiltered.correct / 2
    assert any(item.name == "gradients" for item in found.evidence)


def test_the_dear_stages_go_after_the_near_alone(digits, digits_model):
    """A sample far from the border is not asked about thousands of times."""
    inputs, labels = (part[:16] for part in digits)
    right = digits_model(inputs).argmax(dim=1) == labels
    asked = []

    def ask(x):
        asked.append(len(x))
        return digits_model(x)

    problem = replace(problem_of(digits_model, inputs[right], labels[right], 0.01), ask=ask)
    LinfWorstCase().search(problem, Misled(problem))
    assert sum(asked) < 400 * int(right.sum())


def test_two_classes_are_enough(linear_problem):
    """Where DLR is undefined the margin takes its place, also on features that are no image."""
    model, x, y = linear_problem
    goal = foolbox.criteria.TargetedMisclassification(1 - y[:30])
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    for kind in CASCADES.values():
        _, _, reached = kind()(wrapped, x[:30], goal, epsilons=3.0)
        assert reached.all()
