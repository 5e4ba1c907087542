"""Square: an attacker who sees scores alone, held to its ball, its streams and its budget."""

import foolbox
import pytest
import torch

from pytest_aerobust import evaluate
from pytest_aerobust.attacks.square.attack import L1Square, L2Square, LinfSquare
from pytest_aerobust.attacks.square.windows import Bumps, Stripes
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.catalogue import find
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.subject import build_subject

NORMS = ["linf", "l2", "l1"]
EPS = {"linf": 0.2, "l2": 2.5, "l1": 50.0}
ORDERS = {"linf": torch.inf, "l2": 2, "l1": 1}


def survivors(evaluation):
    return torch.tensor([letter == "s" for letter in evaluation.unfiltered.outcomes])


def shown_by(model, data, norm, **arguments):
    """An evaluation and the example that it showed last of each sample."""
    shown = {}

    def keep(arm, samples, examples, answers):
        shown.update(zip(samples.tolist(), examples, strict=True))

    return evaluate(model, data, attack="square", norm=norm, on_examples=keep, **arguments), shown


@pytest.mark.parametrize("eps", [0.01, 0.03])
def test_a_linear_model_flips_at_its_closed_form_linf_budget(eps, linear_problem):
    """On features in one row, windows find every sign: who can fall does, nobody else."""
    model, x, y = linear_problem
    distance = model.margins(x) / model.weight.double().abs().sum()
    survived = survivors(evaluate(model, (x, y), attack="square", eps=eps, steps=600))
    assert survived[distance > eps * 1.001].all()
    assert not survived[distance < eps * 0.95].any()
    assert 0 < survived.float().mean() < 1


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_linear_model_never_falls_below_its_closed_form_budget(norm, linear_problem):
    """Bumps don't find the optimum, but what they find is inside the ball."""
    model, x, y = linear_problem
    eps = {"l2": 0.1, "l1": 0.3}[norm]
    dual = {"l2": 2, "l1": torch.inf}[norm]
    distance = model.margins(x) / torch.linalg.vector_norm(model.weight.double(), ord=dual)
    survived = survivors(evaluate(model, (x, y), attack="square", norm=norm, eps=eps, steps=300))
    assert survived[distance > eps * 1.001].all()
    assert not survived[distance < eps * 0.3].any()


@pytest.mark.parametrize("norm", NORMS)
def test_every_counted_example_passes_an_independent_check(norm, digits, digits_model):
    """Finite, inside bounds and ball, misclassified; and more queries beat no fewer."""
    inputs, labels = (part[:40] for part in digits)
    arguments = {"eps": EPS[norm], "steps": 200}
    evaluation, shown = shown_by(digits_model, (inputs, labels), norm, **arguments)
    rows = sorted(shown)
    assert {r for r, letter in enumerate(evaluation.unfiltered.outcomes) if letter == "b"} == {
        *rows
    }
    assert len(rows) >= 5
    examples = torch.stack([shown[row] for row in rows])
    assert examples.min() >= 0
    assert examples.max() <= 1
    moves = (examples.double() - inputs[rows].double()).flatten(1)
    lengths = torch.linalg.vector_norm(moves, ord=ORDERS[norm], dim=1)
    assert lengths.max() <= EPS[norm] * (1 + 1e-4)
    assert (digits_model(examples).argmax(dim=1) != labels[rows]).all()


@pytest.mark.parametrize("norm", NORMS)
def test_neither_chunks_nor_company_change_who_falls(norm, digits, digits_model):
    """Every draw belongs to a sample, whoever is asked about beside it."""
    inputs, labels = (part[:40] for part in digits)
    measurement = Measurement(chosen("square", norm, 60, None), EPS[norm], "black-box")

    def outcomes(count, chunk):
        subject = build_subject(digits_model, (inputs[:count], labels[:count]))
        return measure(subject, measurement, chunk=chunk).unfiltered.outcomes

    whole = outcomes(40, 40)
    assert whole == outcomes(40, 7)
    assert whole[:20] == outcomes(20, 20)
    assert 0 < whole.count("b") < 40


class Asked(torch.nn.Module):
    """Counts what it is asked, and refuses to be differentiated."""

    def __init__(self, model):
        super().__init__()
        self.model, self.batches = model, []

    def forward(self, x):
        assert not torch.is_grad_enabled()
        self.batches.append(len(x))
        return self.model(x)


def test_it_asks_for_scores_alone_and_no_more_of_the_beaten(digits, digits_model):
    """No gradient is recorded, and a batch shrinks as samples fall."""
    model = Asked(digits_model)
    data = tuple(part[:30] for part in digits)
    model.requires_grad_(False)
    foolbox_model = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    model.batches.clear()
    goal = foolbox.criteria.Misclassification(data[1])
    LinfSquare(steps=50).run(foolbox_model, data[0], goal, epsilon=0.6)
    assert len(model.batches) <= 50
    assert model.batches[0] == 30
    assert model.batches == sorted(model.batches, reverse=True)
    assert model.batches[-1] < 30


def test_a_target_is_sought(digits, digits_model):
    """With a target the margin is the target's, and a sample is at it where it retires."""
    data = tuple(part[:30] for part in digits)
    arm = evaluate(digits_model, data, attack="square", eps=0.4, target=8, steps=200).unfiltered
    assert arm.target_hits > 0.5


def test_it_needs_no_gradients_and_says_so(digits, digits_model):
    """Its row is score-based, so it is a black-box attack, also on a model without gradients."""

    class Detached(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = digits_model

        def forward(self, x):
            return self.model(x).detach()

    assert find("square").threats[0] == "black-box"
    data = tuple(part[:20] for part in digits)
    found = evaluate(Detached(), data, attack="square", eps=0.3, steps=50)
    assert found.threat == "black-box"
    assert found.unfiltered.beaten > 5


@pytest.mark.parametrize("kind", [LinfSquare, L2Square, L1Square])
def test_foolbox_runs_it_too(kind, digits, digits_model):
    """Called as any Foolbox attack it beats some samples, inside the ball."""
    inputs, labels = (part[:20] for part in digits)
    attack = kind(steps=100)
    eps = {torch.inf: 0.3, 2: 4.0, 1: 40.0}[attack.distance.p]
    model = foolbox.PyTorchModel(digits_model, bounds=(0, 1), device="cpu")
    _, found, beaten = attack(model, inputs, labels, epsilons=eps)
    assert beaten.float().mean() > 0.2
    moves = (found - inputs).flatten(1).double()
    assert torch.linalg.vector_norm(moves, ord=attack.distance.p, dim=1).max() <= eps * (1 + 1e-4)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 12), (1, 1, 5), (1, 1, 1), (2, 9, 1)])
@pytest.mark.parametrize("order", [torch.inf, 2, 1])
def test_windows_fit_any_shape_and_stay_in_the_ball(shape, order):
    """From the first perturbation through all sizes of windows, the budget is spent and kept."""
    windows = Stripes(shape, 0.5) if order == torch.inf else Bumps(shape, 0.5, order)
    generator = torch.Generator().manual_seed(0)
    size = shape[0] * shape[1] * shape[2]
    moves = windows.first(torch.rand(6, size, generator=generator))
    for share in (0.8, 0.4, 0.1, 0.01, 1e-4):
        lengths = torch.linalg.vector_norm(moves.flatten(1), ord=order, dim=1)
        assert torch.allclose(lengths, torch.tensor(0.5), rtol=1e-4)
        draws = torch.rand(6, windows.numbers, generator=generator)
        changed = windows.changed(moves, draws, share)
        assert changed.shape == moves.shape
        moves = changed
