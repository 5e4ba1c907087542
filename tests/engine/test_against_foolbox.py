"""Sample by sample, the attacks are Foolbox's own: on real digits, with the same starts."""

import foolbox
import numpy as np
import pytest
import torch
from foolbox.attacks import (
    L2BasicIterativeAttack,
    L2FastGradientAttack,
    L2ProjectedGradientDescentAttack,
    LinfBasicIterativeAttack,
    LinfFastGradientAttack,
    LinfProjectedGradientDescentAttack,
)
from foolbox.criteria import Misclassification, TargetedMisclassification
from torch import nn

from pytest_aerobust import evaluate
from pytest_aerobust.attacks import gradient
from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.subjects.box import Box

PAIRS = [
    pytest.param((gradient.LinfFGSM, LinfFastGradientAttack, 0.15), id="fgsm-linf"),
    pytest.param((gradient.L2FGSM, L2FastGradientAttack, 2.0), id="fgsm-l2"),
    pytest.param((gradient.LinfBIM, LinfBasicIterativeAttack, 0.1), id="bim-linf"),
    pytest.param((gradient.L2BIM, L2BasicIterativeAttack, 1.0), id="bim-l2"),
    pytest.param((gradient.LinfPGD, LinfProjectedGradientDescentAttack, 0.08), id="pgd-linf"),
    pytest.param((gradient.L2PGD, L2ProjectedGradientDescentAttack, 1.0), id="pgd-l2"),
]
BATCH = 100


class Nobody:
    """Watches a search and lets nobody retire."""

    def retired(self, rows, iterates, logits):
        return torch.zeros_like(rows, dtype=torch.bool)

    def saw_gradients(self, rows, gradients):
        pass


class FirstErring(Nobody):
    """Retires a sample at the first iterate that the model gets wrong, and keeps it."""

    def __init__(self, labels):
        self.labels, self.beaten = labels, torch.zeros(len(labels), dtype=torch.bool)

    def retired(self, rows, iterates, logits):
        wrong = logits.argmax(dim=1) != self.labels[rows]
        self.beaten[rows[wrong]] = True
        return wrong


def problem(model, inputs, labels, eps, first=0, target=None):
    return Problem(
        ask=model,
        gradient=lambda loss, x: torch.autograd.grad(loss, x)[0],
        inputs=inputs,
        labels=labels,
        targets=None if target is None else torch.full_like(labels, target),
        eps=eps,
        bounds=Box.of((0.0, 1.0)),
        places=np.arange(first, first + len(inputs)),
        samples=np.arange(first, first + len(inputs)),
        seed=3,
    )


def batches(digits):
    inputs, labels = digits
    for first in range(0, len(inputs), BATCH):
        yield first, inputs[first : first + BATCH], labels[first : first + BATCH]


def alike(ours, theirs):
    """Both attacks with the same steps, few enough for a test."""
    if theirs().steps == 1:
        return ours(), theirs()
    steps = {"steps": 10, "rel_stepsize": 0.2}
    return ours(**steps), theirs(**steps)


@pytest.fixture(scope="module", params=PAIRS)
def pair(request, digits, digits_model):
    """Our attack, its budget, and Foolbox's last iterates from the same random starts."""
    ours, theirs, eps = request.param
    attack, reference = alike(ours, theirs)
    fmodel = foolbox.PyTorchModel(digits_model, bounds=(0, 1), device="cpu")
    found = []
    for first, inputs, labels in batches(digits):
        start = attack._start(problem(digits_model, inputs, labels, eps, first))
        reference.get_random_start = lambda x0, epsilon, start=start: type(x0)(start)
        found.append(reference.run(fmodel, inputs, Misclassification(labels), epsilon=eps))
    return attack, eps, torch.cat(found)


def wrong(model, inputs, labels):
    with torch.no_grad():
        return torch.cat([model(x) for x in inputs.split(BATCH)]).argmax(dim=1) != labels


def test_without_retirement_the_beaten_set_is_foolboxes_own(pair, digits, digits_model):
    """In the same batches and with nobody retiring, every last iterate beats as Foolbox's."""
    attack, eps, reference = pair
    mine = torch.cat(
        [
            attack.search(problem(digits_model, x, y, eps, first), Nobody())[0]
            for first, x, y in batches(digits)
        ]
    )
    assert torch.allclose(mine, reference, rtol=0, atol=1e-6)
    expected = wrong(digits_model, reference, digits[1])
    assert 0.1 < expected.float().mean() < 0.99
    assert torch.equal(wrong(digits_model, mine, digits[1]), expected)


def test_with_retirement_foolboxes_set_is_contained(pair, digits, digits_model):
    """Retiring beats all that Foolbox beats, but for at most 2 in 1,000 that rounding decides."""
    attack, eps, reference = pair
    beaten = []
    for first, inputs, labels in batches(digits):
        watcher = FirstErring(labels)
        attack.search(problem(digits_model, inputs, labels, eps, first), watcher)
        beaten.append(watcher.beaten)
    missed = wrong(digits_model, reference, digits[1]) & ~torch.cat(beaten)
    assert missed.sum() <= 2
    for row in missed.nonzero().flatten():
        logits = digits_model(reference[row : row + 1])[0]
        label = digits[1][row]
        others = torch.cat([logits[:label], logits[label + 1 :]])
        assert (others.max() - logits[label]).abs() < 1e-3 * logits.abs().max()


@pytest.mark.parametrize(
    ("attack", "theirs", "eps"),
    [
        ("fgsm", LinfFastGradientAttack, 0.15),
        ("bim", LinfBasicIterativeAttack, 0.1),
    ],
)
def test_gray_box_is_foolboxes_examples_through_the_pipeline(
    attack, theirs, eps, digits, digits_model, digits_filter
):
    """The gray-box arm is the bare model's last iterates from Foolbox, sent through the filter."""
    inputs, labels = digits
    pipeline = torch.nn.Sequential(digits_filter, digits_model)
    right = ~wrong(pipeline, inputs, labels)
    fmodel = foolbox.PyTorchModel(digits_model, bounds=(0, 1), device="cpu")
    # The engine attacks in chunks only what either arm still needs, so the batches differ.
    crafted = torch.cat(
        [theirs()(fmodel, x, Misclassification(y), epsilons=eps)[0] for _, x, y in batches(digits)]
    )
    expected = right & ~wrong(pipeline, crafted, labels)
    evaluation = evaluate(
        digits_model,
        digits,
        attack=attack,
        eps=eps,
        filter=digits_filter,
        threat="gray-box",
        waive={"noise": "the attack alone is compared"},
    )
    survived = torch.tensor([letter == "s" for letter in evaluation.filtered.outcomes])
    assert 0.05 < expected.float().mean() < 0.95
    assert (survived != expected).sum() <= 2
    assert evaluation.filtered.correct == int(right.sum())


def test_targeted_bim_is_foolboxes_own(digits, digits_model):
    """Targeted, the last iterates descend the target's loss as Foolbox's do."""
    inputs, labels = digits[0][:BATCH], digits[1][:BATCH]
    mine = gradient.LinfBIM().search(
        problem(digits_model, inputs, labels, 0.2, target=5), Nobody()
    )[0]
    goal = TargetedMisclassification(torch.full_like(labels, 5))
    fmodel = foolbox.PyTorchModel(digits_model, bounds=(0, 1), device="cpu")
    reference, _, hits = LinfBasicIterativeAttack()(fmodel, inputs, goal, epsilons=0.2)
    assert torch.allclose(mine, reference, rtol=0, atol=1e-6)
    assert hits.float().mean() > 0.3


@pytest.mark.parametrize("eps", [0.1])
def test_behind_foolboxes_face_samples_retire(eps, digits, digits_model):
    """Called as any Foolbox attack, it succeeds wherever Foolbox's own class does."""
    inputs, labels = digits[0][:BATCH], digits[1][:BATCH]
    fmodel = foolbox.PyTorchModel(digits_model, bounds=(0, 1), device="cpu")
    _, clipped, mine = gradient.LinfBIM()(fmodel, inputs, labels, epsilons=eps)
    _, _, theirs = LinfBasicIterativeAttack()(fmodel, inputs, labels, epsilons=eps)
    assert (theirs & ~mine).sum() == 0
    assert (clipped - inputs).abs().max() <= eps + 1e-6


class Feature(nn.Module):
    """Logits [-z, z] of how far one feature lies above 0.5; the others don't count."""

    def __init__(self, place):
        super().__init__()
        self.weight = nn.Parameter(nn.functional.one_hot(torch.tensor(place), 3).float())

    def forward(self, x):
        z = (x - 0.5) @ self.weight
        return torch.stack([-z, z], dim=1)


class Switch(nn.Module):
    """A filter that puts the second feature in the first one's place where the third is high."""

    def forward(self, x):
        first = torch.where(x[:, 2] > 0.5, x[:, 1], x[:, 0])
        return torch.cat([first[:, None], x[:, 1:]], dim=1)


def test_gray_box_tries_both_models_that_the_attacker_knows():
    """With a model of its own for the bare arm, what transfers from either of the two counts."""
    deployed, own, pipeline = Feature(0), Feature(1), nn.Sequential(Switch(), Feature(0))
    distances = torch.linspace(-0.45, 0.45, 20).repeat_interleave(2)
    switched = torch.arange(40) % 2 == 1
    inputs = torch.stack([0.5 + distances, 0.5 + distances, switched.float()], dim=1)
    labels = (distances > 0).long()
    eps, near = 0.2, distances.abs() < 0.2
    transferred = {}
    for known in (deployed, own):
        fmodel = foolbox.PyTorchModel(known.eval(), bounds=(0, 1), device="cpu")
        goal = Misclassification(labels)
        _, found, _ = LinfBasicIterativeAttack()(fmodel, inputs, goal, epsilons=eps)
        transferred[known] = wrong(pipeline, found, labels)
    assert torch.equal(transferred[deployed], near & ~switched)
    assert torch.equal(transferred[own], near & switched)
    arguments = {"attack": "bim", "eps": eps, "threat": "gray-box", "filter": Switch()}
    arguments["waive"] = {"noise": "what transfers alone is compared"}
    both = evaluate(deployed, (inputs, labels), unfiltered_model=own, **arguments)
    alone = evaluate(deployed, (inputs, labels), **arguments)
    assert both.filtered.outcomes == letters(near)
    assert alone.filtered.outcomes == letters(near & ~switched)


def letters(beaten):
    return "".join("b" if each else "s" for each in beaten)
