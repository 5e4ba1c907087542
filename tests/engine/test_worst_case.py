"""The worst case: as strong as its stages together, in closed form, and on real digits."""

import foolbox
import pytest
import torch

from pytest_aerobust import evaluate
from pytest_aerobust.attacks.cascade import L1WorstCase, L2WorstCase, LinfWorstCase
from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.catalogue import find
from pytest_aerobust.choice import chosen
from pytest_aerobust.evaluation import Measurement, measure
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.subject import build_subject

CASCADES = {"linf": LinfWorstCase, "l2": L2WorstCase, "l1": L1WorstCase}
DUAL = {"linf": 1, "l2": 2, "l1": float("inf")}
ORDERS = {"linf": torch.inf, "l2": 2, "l1": 1}
BUDGETS = {"linf": 0.08, "l2": 1.0, "l1": 6.0}


def survivors(evaluation):
    return torch.tensor([letter == "s" for letter in evaluation.unfiltered.outcomes])


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 0.003), ("linf", 0.02), ("l2", 0.05), ("l1", 0.1)]
)
def test_a_linear_model_flips_at_its_closed_form_budget(norm, eps, linear_problem):
    """A sample falls exactly where eps exceeds its margin over the dual norm of the weights."""
    model, x, y = linear_problem
    distance = model.margins(x) / torch.linalg.vector_norm(model.weight.double(), ord=DUAL[norm])
    clear = (distance - eps).abs() > 1e-4 * eps
    data = x[:100], y[:100]
    survived = survivors(evaluate(model, data, attack="worst-case", norm=norm, eps=eps))
    assert torch.equal(survived[clear[:100]], (distance > eps)[:100][clear[:100]])
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
    inputs, labels = (part[:24] for part in digits)
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
    for stage in cascade.stages:
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


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_neither_chunks_nor_company_change_who_falls(norm, digits, digits_model):
    """Draws belong to a sample, and who is near the border is judged by itself alone."""
    inputs, labels = (part[:24] for part in digits)
    measurement = Measurement(chosen("worst-case", norm, None, None), BUDGETS[norm], "white-box")

    def outcomes(count, chunk):
        subject = build_subject(digits_model, (inputs[:count], labels[:count]))
        return measure(subject, measurement, chunk=chunk).unfiltered.outcomes

    whole = outcomes(24, 24)
    assert whole == outcomes(24, 7)
    assert whole[:10] == outcomes(10, 10)
    assert 0 < whole.count("b") < 24


def test_it_beats_no_fewer_than_bim_behind_a_filter(digits, digits_model, digits_filter):
    """White-box through the filter, both arms."""
    data = tuple(part[:40] for part in digits)
    arguments = {"filter": digits_filter, "eps": 0.06}
    strong = evaluate(digits_model, data, attack="worst-case", **arguments)
    weak = evaluate(digits_model, data, attack="bim", **arguments)
    for name, arm in strong.arms.items():
        assert arm.survivors <= weak.arms[name].survivors
    assert strong.filtered.survivors > 0


def test_in_the_gray_box_every_stage_is_tried_on_the_pipeline(digits, digits_model, digits_filter):
    """Nobody retires on the bare model, and examples transfer at least as BIM's do."""
    data = tuple(part[:20] for part in digits)
    arguments = {"filter": digits_filter, "eps": 0.25, "threat": "gray-box"}
    strong = evaluate(digits_model, data, attack="worst-case", **arguments)
    weak = evaluate(digits_model, data, attack="bim", **arguments)
    assert strong.filtered.survivors <= weak.filtered.survivors


def test_a_target_is_reached(digits, digits_model):
    """With a target every stage leads there."""
    data = tuple(part[:30] for part in digits)
    strong = evaluate(digits_model, data, attack="worst-case", eps=0.12, target=3).unfiltered
    weak = evaluate(digits_model, data, attack="bim", eps=0.12, target=3).unfiltered
    assert strong.target_hits >= weak.target_hits > 0.2


def test_two_classes_are_enough(linear_problem):
    """Where DLR is undefined the margin takes its place, also on features that are no image."""
    model, x, y = linear_problem
    goal = foolbox.criteria.TargetedMisclassification(1 - y[:30])
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    for kind in CASCADES.values():
        _, _, reached = kind()(wrapped, x[:30], goal, epsilons=3.0)
        assert reached.all()
