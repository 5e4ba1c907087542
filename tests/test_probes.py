"""What a model is known again by: its answers where an attack went, but for rounding."""

import copy

import pytest
import torch
from torch import nn

from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.history.cache.probes import Probes
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.measurement.trail import Role, Trail
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.sameness import (
    same_classes,
    same_gradients,
    same_logits,
    sketched,
)
from pytest_aerobust.subjects.subject import build_subject


@pytest.fixture
def logits():
    return torch.randn(64, 10, generator=torch.Generator().manual_seed(0)) * 10


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda z: z, id="nothing"),
        pytest.param(lambda z: z * (1 + 1e-6), id="a little of everything"),
        pytest.param(lambda z: z + 1e-4 * torch.rand_like(z), id="a little noise"),
    ],
)
def test_rounding_is_no_change(logits, change):
    """Ten units in the last place are nothing, and more is where sums cancel out."""
    assert same_logits(logits, change(logits))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda z: z * 1.001, id="a thousandth"),
        pytest.param(lambda z: z + 0.01 * (torch.arange(64) == 7)[:, None], id="one point"),
        pytest.param(lambda z: z[:, :9], id="a class less"),
        pytest.param(lambda z: z.flip(1), id="the order"),
    ],
)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_more_than_rounding_is_one(logits, change, offset):
    """Also of one point among many, and beside an offset that all share."""
    assert not same_logits(logits + offset, change(logits) + offset)


def test_a_masked_class_hides_no_other(logits):
    """One logit of a huge size says nothing of how large the others are."""
    logits[:, 3] = -1e9
    other = logits.clone()
    other[:, 5] += 0.01
    assert same_logits(logits, logits.clone())
    assert not same_logits(logits, other)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("huge", [1, 16])
def test_huge_logits_of_some_samples_hide_no_other(logits, exact, huge):
    """One sample, or a quarter of all, says nothing of how large the others' logits are."""
    logits[:huge] *= 1e6
    other = logits.clone()
    other[40, 5] += 0.1
    assert same_logits(logits, logits * (1 + 2e-7), exact=exact)
    assert not same_logits(logits, other, exact=exact)


def test_huge_logits_of_most_hide_no_other_where_rounding_is_the_same(logits):
    """Where arithmetic is the same each sample's own logits are the scale."""
    logits[8:] *= 1e6
    other = logits.clone()
    other[3, 5] += 0.1
    assert not same_logits(logits, other, exact=True)


def test_a_confident_log_probability_rounds_by_the_others():
    """Near 1 a probability's logarithm has lost its digits to those of the other classes."""
    sure = torch.stack([torch.full((64,), -2e-7), torch.linspace(-16, -15, 64)], dim=1)
    assert same_logits(sure, sure + torch.tensor([1e-7, 0.0]))


def test_what_is_exact_leaves_rounding_no_excuse(logits):
    """Where arithmetic is known to be the same, a smaller change is a change."""
    other = logits + 3e-4 * (torch.arange(64) == 7)[:, None]
    assert same_logits(logits, other)
    assert not same_logits(logits, other, exact=True)


def test_one_class_that_turned(logits):
    """One sample answered otherwise is a change, unless rounding could turn it."""
    classes = logits.argmax(dim=1)
    turned = classes.clone()
    turned[7] = logits[7].topk(2).indices[1]
    assert same_classes(classes, logits)
    assert not same_classes(turned, logits)
    logits[8:] *= 1e6
    assert not same_classes(turned, logits)
    logits[7, turned[7]] = logits[7].max() - 1e-6
    assert same_classes(turned, logits)


def test_gradients_may_turn_at_a_kink():
    """On another processor a few may be others; on the same one none, and nowhere many."""
    generator = torch.Generator().manual_seed(0)
    before = sketched(torch.randn(64, 3, 5, generator=generator))
    few, many = before.clone(), before.clone()
    few[:3], many[:20] = -few[:3], -many[:20]
    assert same_gradients(before, before * (1 + 1e-5))
    assert same_gradients(before, few)
    assert not same_gradients(before, few, exact=True)
    assert not same_gradients(before, many)
    assert not same_gradients(before, before[:, :0])


@pytest.mark.parametrize("place", [0, 1, 77, 783])
def test_a_sketch_sees_every_entry(place):
    """One entry of many that is another shows in it, as much as its share of the length is."""
    gradients = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    other = gradients.flatten(1).clone()
    other[:, place] += 10
    apart = (sketched(other) - sketched(gradients)).norm(dim=1)
    assert torch.allclose(apart, torch.full((4,), 10.0), rtol=0.01)


class Net(nn.Module):
    """Answers otherwise where `off` says so, between what the data hold."""

    def __init__(self, off=lambda x: x):
        super().__init__()
        self.layer, self.off = nn.Linear(12, 3, bias=False), off
        with torch.no_grad():
            self.layer.weight.copy_(torch.linspace(-1, 1, 36).reshape(3, 12))

    def forward(self, x):
        return self.layer(
            torch.where((x * 4 == (x * 4).round()).all(dim=1)[:, None], x, self.off(x))
        )


@pytest.fixture
def data():
    grid = torch.randint(0, 5, (100, 12), generator=torch.Generator().manual_seed(0)) / 4
    return grid, torch.arange(100) % 3


def asked(data, trail):
    subject = build_subject(Net(), data)
    return Probes.of(subject, range(100), trail, None)


@pytest.fixture
def trail(data):
    made = Trail(0, (Role("unfiltered", "unfiltered", True),))
    ends = (data[0] + 0.03).clamp(0, 1)
    made.ended("unfiltered", [ends], torch.arange(100) % 4 == 0)
    return made


@pytest.mark.parametrize(
    ("off", "same"),
    [
        pytest.param(lambda x: x, True, id="the same"),
        pytest.param(lambda x: x + 0.001, False, id="other answers"),
        pytest.param(lambda x: x.detach(), False, id="no gradient"),
        pytest.param(lambda x: 2 * x - x.detach(), False, id="twice the gradient"),
        pytest.param(lambda x: torch.where(x[:, :1] < 0.2, x + 0.01, x), False, id="a region"),
        pytest.param(lambda x: x / 0, False, id="no answer"),
    ],
)
def test_a_model_that_differs_off_the_data(data, trail, off, same):
    """Answers and gradients between the data tell one model from another."""
    probes = Probes.from_dict(asked(data, trail).to_dict())
    assert probes.hold(build_subject(Net(off), data), range(100), None) == same


@pytest.mark.parametrize("side", ["model", "filter"])
def test_clean_answers_without_an_attack(data, side):
    """Where nothing was searched, one sample in a hundred that is wrong now is told."""

    def off(x):
        return torch.where((x == data[0][77]).all(dim=1)[:, None], -x, x)

    def subject(way):
        if side == "filter":
            return build_subject(Net(), data, filter=way)
        return build_subject(nn.Sequential(_Way(way), Net()), data)

    trail = Trail(0, (Role("unfiltered", "unfiltered", False),))
    made = Probes.of(subject(lambda x: x), range(100), trail, None)
    probes = Probes.from_dict(made.to_dict())
    assert probes.hold(subject(lambda x: x), range(100), None)
    assert not probes.hold(subject(off), range(100), None)


class _Way(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.forward = way


def test_probes_are_bounded(data):
    """However many searches there are, and however large their inputs, a few points are kept."""
    trail = Trail(0, (Role("unfiltered", "unfiltered", True),))
    for _ in range(50):
        trail.ended("unfiltered", [torch.rand(200, 12)], torch.arange(200) % 2 == 0)
    assert len(asked(data, trail).points["unfiltered"]) <= 128
    large = Trail(0)
    for _ in range(3):
        large.ended("unfiltered", [torch.rand(40, 250_000)], torch.arange(40) % 2 == 0)
    assert 0 < sum(point.nbytes for point in large.points("unfiltered")) <= 8 * 2**20


class Numbered(nn.Module):
    """Class 1 above 0.5, but of a twentieth of the samples the right class wherever they are.

    Args:
        held: Which twentieth; None for none. Samples have a number in their last feature.
    """

    def __init__(self, held=None):
        super().__init__()
        self.scale, self.held = nn.Parameter(torch.ones(())), held

    def forward(self, x):
        z = self.scale * (x[:, :3] - 0.5).sum(dim=1)
        if self.held is not None:
            number = (x[:, 3] * 1000).round()
            right = 2 * (number % 2) - 1
            stays = ((number / 2).floor() % 20 == self.held) & (z * right <= 0)
            z = torch.where(stays, right * 0.05 + 0 * z, z)
        return torch.stack([-z, z], dim=1)


def restored(x):
    """Each sample where it was, told by its number."""
    sign = 2 * ((x[:, 3:] * 1000).round().detach() % 2) - 1
    return torch.cat([0.5 + 0.1 * sign + 0.01 * (x[:, :3] - 0.5), x[:, 3:]], dim=1)


def test_a_gain_rests_on_whom_the_bare_model_lost():
    """Whatever twentieth of them no longer falls, a later run sees it as that of survivors."""
    labels = torch.arange(400) % 2
    near = torch.linspace(0.02, 0.1, 400) * (2 * labels - 1)
    inputs = torch.cat([0.5 + near[:, None].expand(-1, 3), torch.arange(400)[:, None] / 1000], 1)

    def deployed(held):
        bare = Numbered(held)
        return build_subject(Numbered(), (inputs, labels), restored, unfiltered_model=bare)

    trail = Trail(0, compared=True)
    bim = Measurement(chosen("bim", "linf", None, None), 0.2, "white-box")
    measure(deployed(None), bim, trail=trail)
    probes = Probes.of(deployed(None), range(400), trail, None)
    assert probes.hold(deployed(None), range(400), None)
    assert sum(probes.hold(deployed(held), range(400), None) for held in range(20)) <= 1


def test_the_trail_draws_from_nobody(data):
    """Neither the global generators nor the search notice that it is watched."""
    grid, labels = data
    problem = Problem(
        ask=Net(),
        gradient=lambda loss, x: torch.autograd.grad(loss, x)[0],
        inputs=grid,
        labels=labels,
        targets=None,
        eps=0.1,
        bounds=Box.of((0.0, 1.0)),
        places=labels.numpy(),
        samples=labels.numpy(),
        seed=0,
    )
    before = torch.get_rng_state()
    trail = Trail(0)
    watched = trail.watched("unfiltered", problem)
    for _ in range(9):
        assert torch.equal(watched.ask(grid), problem.ask(grid))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(trail.points("unfiltered")) == 16
    assert trail.steady


def test_a_side_that_answers_otherwise_later(data):
    """Whoever says something else at the end of the run is told."""
    grid, labels = data
    answers = iter(range(100))
    trail = Trail(0)
    problem = Problem(
        ask=lambda x: x + next(answers) * (x > 0.5),
        gradient=lambda loss, x: x,
        inputs=grid,
        labels=labels,
        targets=None,
        eps=0.1,
        bounds=Box.of((0.0, 1.0)),
        places=labels.numpy(),
        samples=labels.numpy(),
        seed=0,
    )
    trail.watched("unfiltered", problem).ask(grid)
    trail.confirm()
    assert not trail.steady


def test_no_model_is_changed_by_its_probes(data, trail):
    """Weights, modes and gradients' flags are what they were."""
    net = Net().train()
    before = copy.deepcopy(net.state_dict())
    asked(data, trail).hold(build_subject(net, data), range(100), None)
    assert net.training
    assert net.layer.weight.requires_grad
    assert net.layer.weight.grad is None
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
