"""What a model or a filter does to the global generators is nothing to the attacker."""

import random

import eagerpy as ep
import numpy as np
import pytest
import torch
from foolbox.attacks import BoundaryAttack, LinfPGD, SaltAndPepperNoiseAttack
from torch import nn
from torch.utils.checkpoint import checkpoint

from pytest_aerobust.subjects.randomness import Stream

STATE = torch.Generator().manual_seed(0).get_state()


def seeded(function):
    """A part of a model that seeds, and hands on what it got."""

    def part(values):
        function()
        return values

    return part


class SeededBackward(torch.autograd.Function):
    """The identity, which seeds in its backward pass alone."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        torch.manual_seed(0)
        return gradient


MOVES = {
    "torch.manual_seed": seeded(lambda: torch.manual_seed(0)),
    "np.random.seed": seeded(lambda: np.random.seed(0)),
    "random.seed": seeded(lambda: random.seed(0)),
    "torch.set_rng_state": seeded(lambda: torch.set_rng_state(STATE)),
    "NumPy's bit generator": seeded(lambda: np.random.set_bit_generator(np.random.MT19937(0))),
    "draws": seeded(lambda: (torch.rand(3), np.random.randn(), random.gauss(0, 1))),
    "all seeds": seeded(lambda: (torch.manual_seed(0), np.random.seed(0), random.seed(0))),
    "the backward pass": SeededBackward.apply,
}


class Walk(BoundaryAttack):
    """A random walk by all three generators, which asks before each step."""

    def run(self, model, inputs, criterion, *, early_stop=None, **kwargs):
        points = inputs
        for _ in range(30):
            model(points)
            shift = random.uniform(-0.1, 0.1) + np.random.uniform(-0.1, 0.1)
            points = (inputs + 0.2 * torch.rand(inputs.shape) - 0.1 + shift).clamp(0, 1)
        return inputs


class NoisyDescent(LinfPGD):
    """A descent along noisy gradients: it draws after each backward pass."""

    def __init__(self):
        super().__init__(steps=5, random_start=False)

    def normalize(self, gradients, *, x, bounds):
        noise = torch.randn(gradients.shape)
        return (gradients / gradients.abs().max() + ep.astensor(noise)).sign()


ATTACKS = {
    "boundary": {"attack_args": {"steps": 60}, "eps": 0.15},
    "hop-skip-jump": {"attack_args": {"steps": 3}, "eps": 0.15},
    "uniform-noise": {"attack_args": {"repeats": 30}, "eps": 0.2},
    "pointwise": {"eps": 0.4, "norm": "l1"},
    "gen-attack": {"attack_args": {"steps": 10}, "eps": 0.3, "target": 1},
    "square": {"attack_args": {"steps": 60}, "eps": 0.1},
    "pgd": {"steps": 2, "eps": 0.1},
    "walk": {"attack": Walk(init_attack=SaltAndPepperNoiseAttack()), "eps": 0.3},
    "noisy descent": {"attack": NoisyDescent(), "eps": 0.1},
}
QUIET = {"noise": "the attack alone is counted", "one step": "the attack alone is counted"}


@pytest.fixture
def examples(attacked):
    """What an attack finds: outcomes, and every example in turn."""

    def found(attack, model, **settings):
        kept = []
        evaluation = attacked(
            model,
            attack=attack,
            waive=QUIET,
            on_examples=lambda arm, samples, examples, answers: kept.append(examples),
            **settings,
        )
        return evaluation, torch.cat(kept)

    return found


@pytest.fixture(scope="module")
def undisturbed():
    """What attacks find on the model as it is, by their names."""
    return {}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_draws_its_own_numbers(examples, around, undisturbed, attack, move):
    """It finds the same examples, whatever the model does to the global generators."""
    settings = {"attack": attack, **ATTACKS[attack]}
    if attack not in undisturbed:
        undisturbed[attack] = examples(model=around(), **settings)
    evaluation, found = examples(model=around(before=MOVES[move]), **settings)
    expected, others = undisturbed[attack]
    assert evaluation.unfiltered == expected.unfiltered
    assert 0 < evaluation.unfiltered.beaten < evaluation.unfiltered.correct
    assert torch.equal(found, others)


@pytest.mark.parametrize("attack", ["boundary", "uniform-noise", "walk"])
@pytest.mark.parametrize("move", ["all seeds", "draws"])
@pytest.mark.parametrize("draws", [None, 2], ids=["once", "eot"])
def test_a_filter_moves_no_generator_either(examples, model, attack, move, draws):
    """Nor does it where answers are averaged over draws."""
    settings = {"attack": attack, "eot": draws, **ATTACKS[attack]}
    evaluation, found = examples(model=model, filter=MOVES[move], **settings)
    expected, others = examples(model=model, filter=nn.Identity(), **settings)
    assert evaluation.filtered == expected.filtered
    assert torch.equal(found, others)


@pytest.mark.parametrize("hook", ["pre", "post", "backward"])
def test_hooks_move_no_generator(examples, around, hook):
    """A hook that seeds is part of the question, in the backward pass, too."""
    model = around()
    if hook == "pre":
        model.register_forward_pre_hook(lambda module, inputs: MOVES["all seeds"](None))
    elif hook == "post":
        model.register_forward_hook(lambda module, inputs, outputs: MOVES["all seeds"](None))
    else:
        model.register_full_backward_hook(lambda module, *gradients: MOVES["all seeds"](None))
    for attack in ("boundary", "noisy descent"):
        settings = {"attack": attack, **ATTACKS[attack]}
        assert torch.equal(
            examples(model=model, **settings)[1], examples(model=around(), **settings)[1]
        )


@pytest.mark.parametrize(
    "draw",
    [
        lambda z: z + 0.1 * torch.randn_like(z),
        lambda z: z + 0.1 * torch.from_numpy(np.random.randn(*z.shape)).to(z),
        lambda z: z + random.random() * torch.tensor([0.2, 0.0]),
        lambda z: nn.functional.dropout(z, 0.5, training=True),
        lambda z: checkpoint(nn.functional.dropout, z, 0.5, True, use_reentrant=False),
    ],
    ids=["torch", "NumPy", "Python", "dropout", "checkpoint"],
)
def test_a_random_model_stays_random(attacked, around, draw):
    """From question to question its draws go on, so that the evidence sees them."""
    found = {finding.name: finding for finding in attacked(around(behind=draw)).evidence}
    assert found["determinism"].void


@pytest.mark.parametrize("eot", [None, 4])
def test_a_random_filter_that_is_seeded_is_none(attacked, eot):
    """As the evidence advises: seeded, it answers alike, and draws of it are one."""

    def noisy(inputs):
        torch.manual_seed(0)
        return inputs + 0.01 * torch.randn(inputs.shape[1:])

    found = attacked(filter=noisy, eot=eot)
    assert not any(finding.void for finding in found.evidence if finding.name == "determinism")
    alike = "the pipeline answers alike in all 4 draws of eot="
    assert any(note == alike for note in found.notes) == (eot is not None)


def numbers():
    return random.random(), np.random.rand(), torch.rand(()).item()


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def test_a_stream_goes_on_where_it_stopped():
    """Two streams and the world outside take turns, and none takes notice of the others."""
    apart = []
    for seed in (1, 2):
        with Stream(seed).resumed():
            apart.append([numbers() for _ in range(3)])
    seed_all(3)
    outside = [numbers() for _ in range(3)]
    seed_all(3)
    one, two = Stream(1), Stream(2)
    for turn in range(3):
        for stream, expected in zip((one, two), apart, strict=True):
            with stream.resumed(), stream.resumed():
                assert numbers() == expected[turn]
        assert numbers() == outside[turn]
    assert apart[0] != apart[1]


def test_a_question_that_fails_gives_the_generators_back():
    """An error in the model ends its stream's turn."""
    seed_all(3)
    outside = numbers()
    seed_all(3)
    with pytest.raises(ZeroDivisionError), Stream(1).resumed():
        numbers()[0] / 0
    assert numbers() == outside
