"""What a tie or rounding of an answer decides is undecided, on every machine."""

import random
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from foolbox.attacks import LinfProjectedGradientDescentAttack
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pytest_aerobust import evaluate
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.counterexamples.rounding import CloseAnswers, Rounding
from pytest_aerobust.counterexamples.verification import Ball
from pytest_aerobust.results.arm import Arm
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.subject import build_subject
from pytest_aerobust.verdict.judge import judge
from pytest_aerobust.verdict.population import about_population

# Of the searches of the evidence nothing is held here.
QUIET = dict.fromkeys(
    ("noise", "one step", "unbounded", "nesting", "loss", "gradients", "clean accuracy"),
    "the search itself is looked at",
)


class Claiming(LinfProjectedGradientDescentAttack):
    """Claims whatever a function makes of the inputs."""

    def __init__(self, claim):
        super().__init__()
        self.claim = claim

    def run(self, model, inputs, criterion, *, epsilon, **kwargs):
        return self.claim(inputs)


class Line(nn.Module):
    """Class 1 where the first number is above 0.5, by the distance from there.

    Args:
        front: What becomes of the logits.
        scale: Of the logits.
    """

    def __init__(self, front=lambda logits: logits, scale=1.0):
        super().__init__()
        self.front, self.scale = front, scale

    def forward(self, x):
        z = self.scale * (x[:, 0] - 0.5)
        return self.front(torch.stack([-z, z], dim=1))


class Background(nn.Module):
    """Class 0 has the logit 0, and class 1 one that rises from 0.6 on, whatever the front."""

    def __init__(self, front):
        super().__init__()
        self.front = front

    def forward(self, x):
        return self.front(torch.stack([0 * x[:, 0], 10 * (x[:, 0] - 0.6)], dim=1))


def two_classes(*places):
    """Samples at some places of the line, with the label of the side that they are on."""
    inputs = torch.tensor(places)[:, None].repeat(1, 2)
    return inputs, (inputs[:, 0] > 0.5).long()


def interval(arm):
    return tuple(map(float, arm.accuracy_interval))


def moved_to(place):
    """Claims that every sample below 0.5 belongs at one place of the line."""

    def claim(inputs):
        claims = inputs.clone()
        claims[inputs[:, 0] < 0.5, 0] = place
        return claims

    return claim


BEYOND = torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)).item()


@pytest.mark.parametrize(
    "place",
    [0.5, BEYOND, 0.5 + 2e-7, 0.5 - 2e-8],
    ids=["on the border", "the next float", "a few floats beyond", "short of it"],
)
def test_an_example_within_rounding_of_the_border_is_undecided(place):
    """At the edge of the ball nobody can go farther, so such a sample counts on both sides."""
    data = two_classes(*[0.375] * 10, *[0.9] * 10)
    found = evaluate(Line(), data, attack=Claiming(moved_to(place)), eps=0.125, waive=QUIET)
    assert interval(found.unfiltered) == (0.5, 1.0)
    assert found.unfiltered.undecided == 10
    assert any("10 of 20 samples are undecided" in note for note in found.notes)
    for floor, outcome in ((0.5, "passed"), (0.75, "inconclusive"), (1.0, "inconclusive")):
        assert judge(Floors(min_acc=Fraction(floor)), found).outcome == outcome


def test_an_attack_that_stops_at_the_border_goes_a_little_farther():
    """Inside the ball the same candidate, a thousandth farther from its original, counts."""
    data = two_classes(*[0.375] * 10, *[0.9] * 10)
    found = evaluate(Line(), data, attack=Claiming(moved_to(0.5)), eps=0.2, waive=QUIET)
    assert interval(found.unfiltered) == (0.5, 0.5)
    assert not found.unfiltered.undecided


@pytest.mark.parametrize("alone", [-1e-7, 3e-7, 1e-6])
def test_an_answer_that_depends_on_the_company_is_undecided(alone):
    """Right alone and wrong in company, by what rounding may do: no witness."""

    class Company(nn.Module):
        """A lead that depends on the size of the batch by less than float32 can hold."""

        def forward(self, x):
            z = x[:, 0] - 0.5 + (1e-6 - alone if len(x) > 1 else 0.0)
            return torch.stack([-z, z], dim=1)

    data = two_classes(*[0.375] * 10, *[0.9] * 10)
    attack = Claiming(moved_to(0.5 + alone - 5e-7))
    found = evaluate(Company(), data, attack=attack, eps=0.125, waive=QUIET)
    assert found.unfiltered.beaten == 0
    assert interval(found.unfiltered) == (0.5, 1.0)


def test_a_clean_answer_within_rounding_widens_the_clean_accuracy():
    """Of a sample on the border no machine knows whether it is right."""
    inputs, labels = two_classes(*[0.2] * 5, BEYOND, *[0.9] * 4)
    right = evaluate(Line(), (inputs, labels), attack="fgsm", eps=0.01, waive=QUIET)
    wrong = evaluate(
        Line(),
        (inputs, labels.index_fill(0, torch.tensor([5]), 0)),
        attack="fgsm",
        eps=0.01,
        waive=QUIET,
    )
    for found, accuracy in ((right, 1.0), (wrong, 0.9)):
        assert found.unfiltered.clean_accuracy == accuracy
        assert tuple(map(float, found.unfiltered.clean_interval)) == (0.9, 1.0)
        assert found.unfiltered.unsure == (5,)
        verdict = judge(Floors(min_clean_acc=Fraction(19, 20)), found)
        assert verdict.outcome == "inconclusive"


FRONTS = {
    "sigmoid": lambda z: torch.sigmoid(40 * z),
    "hardsigmoid": lambda z: nn.functional.hardsigmoid(12 * z),
    "relu": torch.relu,
    "relu6": lambda z: nn.functional.relu6(30 * z),
    "clamp": lambda z: z.clamp(-1, 1),
    "round": torch.round,
    "floor": torch.floor,
    "tanh": lambda z: torch.tanh(40 * z),
    "offset": lambda z: z + 2.0**22,
    "bfloat16": lambda z: (z + 16).bfloat16().float(),
    "half": lambda z: (z + 1000).half().float(),
}


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
def test_clean_accuracy_is_that_of_argmax(front):
    """Saturated, clamped, rounded and offset logits tie, and deployment takes the first class."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 5, generator=generator)
    labels = logits.argmax(dim=1)

    class Front(nn.Module):
        def forward(self, x):
            return front(4 * x - 2)

    inputs = (logits / 8 + 0.5).clamp(0, 1)
    labels = (4 * inputs - 2).argmax(dim=1)
    truth = (front(4 * inputs - 2).argmax(dim=1) == labels).double().mean().item()
    found = evaluate(Front(), (inputs, labels), attack="bim", eps=0.01, waive=QUIET)
    arm = found.unfiltered
    assert arm.clean_accuracy == pytest.approx(truth)
    assert arm.accuracy_interval.high <= arm.clean_interval.high
    ties = (front(4 * inputs - 2).topk(2, dim=1).values.diff(dim=1) == 0).sum()
    assert any(each.name == "ties" for each in found.evidence) or ties < 3
    assert judge(Floors(min_acc=Fraction(1)), found).outcome != "passed"


@pytest.mark.parametrize(
    "front",
    [torch.relu, nn.functional.relu6, nn.Hardtanh(0, 1), lambda z: z.clamp(min=0).round()],
    ids=["relu", "relu6", "hardtanh", "rounded"],
)
def test_who_is_wrong_by_a_tie_is_beaten(front):
    """Where an example drives all logits to one value, the first class is the answer."""
    inputs = torch.tensor([0.8] * 20 + [0.2] * 20)[:, None].repeat(1, 2)
    labels = torch.tensor([1] * 20 + [0] * 20)
    attack = Claiming(lambda inputs: torch.full_like(inputs, 0.4))
    found = evaluate(Background(front), (inputs, labels), attack=attack, eps=0.4, waive=QUIET)
    arm = found.unfiltered
    assert arm.clean_accuracy == 1.0
    assert arm.beaten == 20
    # Who is right by a tie alone holds no floor.
    assert interval(arm) == (0.0, 0.5)
    assert judge(Floors(min_acc=Fraction(3, 5)), found).outcome == "failed"
    assert "ties" in {each.name for each in found.evidence}


@pytest.mark.parametrize("attack", ["bim", "pgd", "square", "LinfDeepFoolAttack"])
def test_two_machines_never_contradict_each_other(attack):
    """One budget at which samples sit on the border: none fails what another one passes.

    Of searches that go nearly the same way on each: FMN does not, and is left to the evidence.
    """
    weight = torch.tensor([1.0, -0.5, 0.25, 2.0])
    inputs = torch.rand(60, 4, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.25
    centre = (inputs @ weight).median()
    labels = (inputs @ weight > centre).long()
    # Exactly the distance of some samples, which all attacks try to the last bit.
    distances = ((inputs @ weight - centre).abs() / weight.abs().sum()).sort().values

    class Machine(nn.Module):
        """The same sum in another order, and off by less than a unit in the last place."""

        def __init__(self, order, noise):
            super().__init__()
            self.order, self.noise = order, noise

        def forward(self, x):
            terms = x[:, self.order] * weight[self.order]
            z = terms.cumsum(dim=1)[:, -1] - centre
            z = z + self.noise * 1e-7 * torch.sin(1e5 * z)
            return torch.stack([-z, z], dim=1)

    machines = [Machine([0, 1, 2, 3], 0), Machine([3, 1, 0, 2], 1), Machine([2, 3, 1, 0], -1)]
    for distance in distances[[10, 20]].tolist():
        found = [
            evaluate(machine, (inputs, labels), attack=attack, eps=distance, waive=QUIET)
            for machine in machines
        ]
        for survivors in range(35, 55):
            floors = Floors(min_acc=Fraction(survivors, 60))
            assert {"passed", "failed"} - {judge(floors, each).outcome for each in found}


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(st.sampled_from("-sbu?"), min_size=1, max_size=40), st.data())
def test_an_interval_holds_whatever_the_undecided_turn_out_to_be(letters, data):
    """Replacing each open letter by any outcome leaves every quantity inside its interval."""
    arm = Arm("".join(letters))
    filled = [data.draw(st.sampled_from("sb")) if letter in "u?" else letter for letter in letters]
    final = Arm("".join(filled))
    for name in ("accuracy_interval", "drop_interval", "clean_interval", "target_hits_interval"):
        low, high = getattr(arm, name)
        assert low <= getattr(final, name).low <= getattr(final, name).high <= high


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(
    ("letters", "floor", "outcome"),
    [
        ("s" * 300 + "u" * 60, 0.75, "passed"),
        ("s" * 300 + "u" * 60, 0.9, "inconclusive"),
        ("s" * 100 + "u" * 60 + "b" * 200, 0.6, "failed"),
    ],
)
def test_undecided_samples_widen_the_bounds_of_a_population(letters, floor, outcome, sequential):
    """They count as fallen for the lower bound, and as standing for the upper one."""
    mixed = "".join(random.Random(0).sample(letters, len(letters)))
    data = two_classes(*[0.2] * 10, *[0.9] * 10)
    found = evaluate(Line(), data, attack="fgsm", eps=0.01)
    evaluation = replace(found, unfiltered=Arm(mixed))
    check = about_population(Fraction(95, 100), 1, range(len(mixed)), sequential=sequential)
    assert judge(Floors(min_acc=Fraction(floor)), evaluation, check).outcome == outcome


def test_answers_far_from_the_border_are_asked_once():
    """Nobody pays for what is not close."""
    calls = []

    def ask(inputs):
        calls.append(len(inputs))
        return torch.stack([inputs[:, 0], -inputs[:, 0]], dim=1)

    inputs = torch.tensor([[0.5], [0.1], [-0.3], [1e-9]])
    answers = CloseAnswers(
        ask, inputs, ask(inputs), lambda rows: inputs[rows] + 1e-8, Rounding(0.5)
    )
    miss = answers.miss(torch.zeros(4, dtype=torch.int64))
    assert miss.holds.tolist() == [False, False, True, False]
    assert miss.open.tolist() == [False, False, False, True]
    assert calls == [4, 1]


def test_what_company_leaves_open_is_not_asked_one_by_one():
    """Of logits with a large offset all leads are within rounding, and a question for all do."""
    calls = []

    def ask(inputs):
        calls.append(len(inputs))
        return torch.stack([inputs[:, 0], -inputs[:, 0]], dim=1) + 1e7

    inputs = torch.rand(50, 2)
    answers = CloseAnswers(ask, inputs, ask(inputs), lambda rows: inputs[rows] + 1e-7, Rounding())
    assert answers.miss(torch.zeros(50, dtype=torch.int64)).open.all()
    assert calls == [50, 50]


class Sums(nn.Module):
    """One linear function, its sum taken in parts, as machines differ in it.

    Args:
        weight: ``(D,)``.
        parts: In which the sum is taken.
        head: What becomes of the sum, without a gradient of its own.
    """

    def __init__(self, weight, parts, head):
        super().__init__()
        self.weight, self.parts, self.head = nn.Parameter(weight), parts, head

    def forward(self, x):
        terms = (x - 0.5) * self.weight
        if self.parts == 1:
            z = (x - 0.5) @ self.weight
        else:
            z = sum(terms[:, part :: self.parts].sum(dim=1) for part in range(self.parts))
        z = z + (self.head(z) - z).detach()
        return torch.stack([-z, z], dim=1)


HEADS = {
    "int8": lambda z: torch.floor(4 * z) / 4 + 0.125,
    "sign": lambda z: torch.where(z >= 0, 1.0, -1.0),
    "coarse": lambda z: torch.floor(z) + 0.5,
    "few bits": lambda z: (z + torch.where(z >= 0, 2.0, -2.0)).bfloat16().float(),
}


@pytest.mark.parametrize("attack", ["bim", "fgsm"])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_steps_turn_no_rounding_into_a_verdict(head, attack):
    """Behind a step the lead is large whatever decides which side of it an answer is on."""
    rng = np.random.default_rng(0)
    weight = torch.tensor(rng.normal(size=64), dtype=torch.float32)
    signs = torch.tensor(np.where(rng.random(200) < 0.5, 1.0, -1.0))
    inputs = torch.tensor(rng.uniform(0.3, 0.7, (200, 64)))
    # Each of them is exactly 0.1 from the border, in the norm that the attacks move in.
    length = weight.double().abs().sum()
    missing = 0.1 * signs - (inputs - 0.5) @ weight.double() / length
    inputs = (inputs + missing[:, None] * weight.double().sign()).float()
    found = [
        evaluate(
            Sums(weight, parts, head),
            (inputs, (signs > 0).long()),
            attack=attack,
            eps=0.099999995,
            waive=QUIET,
        )
        for parts in (1, 2, 4)
    ]
    for survivors in range(0, 201, 5):
        floors = Floors(min_acc=Fraction(survivors, 200))
        assert {"passed", "failed"} - {judge(floors, each).outcome for each in found}


FILTERS = {
    "cut": lambda x, levels: torch.floor(x * levels) / levels,
    "cast": lambda x, levels: (x * levels).to(torch.uint8) / levels,
    "halves": lambda x, levels: torch.round(x * levels + 0.5) / levels,
}


@pytest.mark.parametrize("levels", [255, 15])
@pytest.mark.parametrize("quantising", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("head", ["int8", "coarse"])
def test_steps_are_seen_behind_a_filter_whose_borders_the_data_lie_on(quantising, levels, head):
    """Images of so many grey levels lie where such a filter jumps; elsewhere answers stay."""
    rng = np.random.default_rng(0)
    inputs = torch.tensor(rng.integers(0, levels, (16, 64)) / levels, dtype=torch.float32)
    model = Sums(torch.tensor(rng.normal(0, 40, 64), dtype=torch.float32), 1, HEADS[head])
    ball = Ball("linf", 0.1, Box.of((0, 1)))
    smooth = Sums(model.weight.detach(), 1, lambda z: z)
    cutting = partial(quantising, levels=levels)
    for each, filter, stepped in ((model, cutting, True), (smooth, None, False)):
        subject = build_subject(each, (inputs, torch.arange(16) % 2), filter)
        with subject.borrowed(None) as sides:
            side = sides.pipeline or sides.unfiltered
            found = Rounding.of(side, inputs, side.clean(inputs)[1][0], ball.aside)
        assert found.stepped == stepped


def test_draws_of_a_random_filter_are_no_rounding():
    """Another place in a batch gets other draws, which leaves nobody undecided."""
    data = two_classes(*torch.linspace(0.4, 0.49, 150), *torch.linspace(0.51, 0.6, 150))
    found = evaluate(
        Line(),
        data,
        # Off the border by a third of a step in the mean of eight draws, so that none is a tie.
        filter=lambda x: (torch.floor(x * 16 + torch.rand_like(x)) + 1 / 24) / 16,
        attack="bim",
        eps=0.0,
        eot=8,
        waive=QUIET,
    )
    assert found.filtered.samples == 300
    assert not found.filtered.undecided


MASKS = [-1e3, -1e7, -1e9, torch.finfo(torch.float32).min]


@pytest.mark.parametrize("mask", MASKS)
def test_a_class_that_nobody_takes_blurs_no_other(mask):
    """Masked by whatever number, it changes no count."""

    class Masked(Line):
        def forward(self, x):
            logits = super().forward(x)
            return torch.cat([logits, torch.full_like(logits[:, :1], mask)], dim=1)

    data = two_classes(*torch.linspace(0.1, 0.9, 80).tolist())
    plain = evaluate(Line(), data, attack="bim", eps=0.2, waive=QUIET).unfiltered
    masked = evaluate(Masked(), data, attack="bim", eps=0.2, waive=QUIET).unfiltered
    assert masked.outcomes == plain.outcomes
    assert not masked.undecided


def test_one_sample_with_huge_logits_blurs_no_other():
    """What is usual is that of most samples."""
    inputs, labels = two_classes(*torch.linspace(0.1, 0.9, 80).tolist())
    inputs = torch.cat([inputs, torch.tensor([[2e7, 0.5]])])
    labels = torch.cat([labels, torch.tensor([1])])
    found = evaluate(
        Line(), (inputs, labels), attack="bim", eps=0.2, bounds=(0, 2e7), waive=QUIET
    ).unfiltered
    assert not found.undecided
    assert found.beaten > 30


def test_saturated_answers_are_not_asked_one_by_one():
    """A tie in company and aside is one alone, too: a question for all of them is enough."""
    calls = []

    def ask(inputs):
        calls.append(len(inputs))
        return torch.ones(len(inputs), 3)

    inputs = torch.rand(50, 2)
    answers = CloseAnswers(ask, inputs, ask(inputs), lambda rows: inputs[rows], Rounding())
    miss = answers.miss(torch.arange(50) % 3)
    assert miss.tied.all()
    assert miss.holds.tolist() == [label % 3 != 0 for label in range(50)]
    assert calls == [50, 50]
