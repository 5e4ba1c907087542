"""A mutation check of the verifier: genuine examples, each spoilt in one way, are all refused."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_aerobust.attacks.losses import margin
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.counterexamples.collector import Counterexamples
from pytest_aerobust.counterexamples.verification import Ball, correct, verify
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.subject import build_subject

ATTACKS = {
    "linf": ("bim", 0.05, 0.1),
    "l2": ("pgd", 0.2, 1.5),
    "l1": ("L1FMNAttack", 0.8, 12.0),
    "l0": ("L0FMNAttack", 4.0, 20.0),
}
KINDS = ["linear", "digits"]

each_norm = pytest.mark.parametrize("norm", ATTACKS)
each_kind = pytest.mark.parametrize("kind", KINDS)
many_times = settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # no draw changes `genuine`
)


@dataclass(frozen=True, repr=False)
class Genuine:
    """What an attack found and verification accepted, with what it was found on."""

    model: torch.nn.Module
    originals: torch.Tensor
    adversarial: torch.Tensor
    labels: torch.Tensor
    answers: torch.Tensor
    ball: Ball

    def __len__(self):
        return len(self.labels)

    def accepted(self, candidates, labels=None, ball=None, ask=None):
        labels = self.labels if labels is None else labels
        ask = ask or self.model
        found = verify(ask, self.originals, candidates, labels, None, ball or self.ball)
        return found.adversarial

    def always_wrong(self, inputs):
        """Logits of a model that errs on everything, so that only geometry can refuse."""
        wrong = torch.zeros(len(inputs), int(self.labels.max()) + 2)
        wrong[:, -1] = 1.0
        return wrong


def find(model, inputs, labels, attack, norm, eps):
    kept = Counterexamples()
    measurement = Measurement(chosen(attack, norm, None, None), eps, "white-box")
    with torch.random.fork_rng():
        measure(build_subject(model, (inputs, labels)), measurement, on_examples=kept)
    found = kept.of("unfiltered")
    assert len(found) >= 12
    found = found[:12]
    rows = torch.tensor([each.sample for each in found])
    return Genuine(
        model,
        inputs[rows],
        torch.stack([each.adversarial for each in found]),
        labels[rows],
        torch.tensor([each.answer for each in found]),
        Ball(norm, eps, Box.of((0.0, 1.0))),
    )


@pytest.fixture
def genuine(request, kind, norm, searched):
    """A dozen genuine examples of one norm, on one kind of model."""
    if kind == "linear":
        model, inputs, labels = request.getfixturevalue("linear_problem")
    else:
        model = request.getfixturevalue("digits_model")
        inputs, labels = (part[:48] for part in request.getfixturevalue("digits"))
    return searched(kind, norm, model, inputs, labels)


@pytest.fixture(scope="module")
def searched():
    """Runs each attack once for all tests of this file."""
    known = {}

    def search(kind, norm, model, inputs, labels):
        if (kind, norm) not in known:
            attack, small, large = ATTACKS[norm]
            eps = small if kind == "linear" else large
            known[kind, norm] = find(model, inputs, labels, attack, norm, eps)
        return known[kind, norm]

    return search


def spoilt(genuine, rows, mutate):
    """The examples with some of them changed, each by `mutate(original, example)`."""
    candidates = genuine.adversarial.clone()
    for row in rows:
        candidates[row] = mutate(genuine.originals[row], genuine.adversarial[row])
    return candidates


def some_rows(data, genuine):
    return data.draw(st.sets(st.integers(0, len(genuine) - 1), min_size=1, max_size=5))


def assert_refused(genuine, rows, accepted):
    """Exactly the spoilt ones are refused: their company neither saves them nor suffers."""
    expected = torch.ones(len(genuine), dtype=torch.bool)
    expected[list(rows)] = False
    assert torch.equal(accepted, expected)


@each_kind
@each_norm
def test_genuine_examples_are_accepted(genuine):
    """Unspoilt, every one is accepted, with the answer that was recorded."""
    found = verify(
        genuine.model, genuine.originals, genuine.adversarial, genuine.labels, None, genuine.ball
    )
    assert found.adversarial.all()
    assert torch.equal(found.answers, genuine.answers)


def outside(norm, eps, factor, rng):
    """A mutation that leaves the ball, by a factor of its radius; L0 counts changed numbers."""

    def mutate(original, example):
        perturbation = (example - original).double().flatten()
        if norm == "l0":
            places = rng.choice(len(perturbation), int(eps) + 1, replace=False)
            perturbation[:] = 0
            perturbation[places] = factor
        else:
            order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
            perturbation *= factor * eps / torch.linalg.vector_norm(perturbation, order)
        return (original.double().flatten() + perturbation).to(example).reshape_as(example)

    return mutate


@each_kind
@each_norm
@many_times
@given(data=st.data(), factor=st.floats(1.01, 50.0), seed=st.integers(0, 2**32 - 1))
def test_out_of_the_ball(genuine, norm, data, factor, seed):
    """A hundredth beyond the radius is too far, whatever the model says and wide the bounds."""
    rows = some_rows(data, genuine)
    rng = np.random.default_rng(seed)
    wide = Ball(norm, genuine.ball.eps, Box.of((-60.0, 60.0)))
    candidates = spoilt(genuine, rows, outside(norm, genuine.ball.eps, factor, rng))
    accepted = genuine.accepted(candidates, ball=wide, ask=genuine.always_wrong)
    assert_refused(genuine, rows, accepted)
    assert not genuine.accepted(candidates)[list(rows)].any()


@each_kind
@pytest.mark.parametrize("norm", ["linf"])
@many_times
@given(data=st.data(), excess=st.floats(1e-5, 0.5))
def test_one_number_out_of_the_ball(genuine, norm, data, excess):
    """In Linf a single number a hundred-thousandth too far, inside the bounds, is enough."""
    rows = some_rows(data, genuine)
    place = data.draw(st.integers(0, genuine.originals[0].numel() - 1))

    def mutate(original, example):
        changed, start = example.clone().flatten(), float(original.flatten()[place])
        step = genuine.ball.eps + excess
        changed[place] = start + step if start < 0.5 else start - step
        return changed.reshape_as(example)

    candidates = spoilt(genuine, rows, mutate).clamp(-0.2, 1.2)
    wide = Ball(norm, genuine.ball.eps, Box.of((-1.0, 2.0)))
    accepted = genuine.accepted(candidates, ball=wide, ask=genuine.always_wrong)
    assert_refused(genuine, rows, accepted)
    assert not genuine.accepted(candidates)[list(rows)].any()


@each_kind
@each_norm
@many_times
@given(data=st.data(), beyond=st.floats(0, 1e3, width=32), upper=st.booleans())
def test_out_of_bounds(genuine, norm, data, beyond, upper):
    """One number past a bound, by the next float even, however large the ball."""
    rows = some_rows(data, genuine)
    place = data.draw(st.integers(0, genuine.originals[0].numel() - 1))
    bound, way = (1.0, np.inf) if upper else (0.0, -np.inf)
    value = np.nextafter(np.float32(bound + (beyond if upper else -beyond)), np.float32(way))

    def mutate(original, example):
        changed = example.clone().flatten()
        changed[place] = float(value)
        return changed.reshape_as(example)

    candidates = spoilt(genuine, rows, mutate)
    huge = Ball(norm, 1e9, Box.of((0.0, 1.0)))
    accepted = genuine.accepted(candidates, ball=huge, ask=genuine.always_wrong)
    assert_refused(genuine, rows, accepted)
    assert not genuine.accepted(candidates)[list(rows)].any()


@each_kind
@each_norm
@many_times
@given(data=st.data(), value=st.sampled_from([float("nan"), float("inf"), -float("inf")]))
def test_not_finite(genuine, norm, data, value):
    """One number that is NaN or infinite, in a ball that holds everything."""
    rows = some_rows(data, genuine)
    places = data.draw(st.sets(st.integers(0, genuine.originals[0].numel() - 1), min_size=1))

    def mutate(original, example):
        changed = example.clone().flatten()
        changed[list(places)] = value
        return changed.reshape_as(example)

    candidates = spoilt(genuine, rows, mutate)
    everything = Ball(norm, 1e30, Box.of((-3e38, 3e38)))
    accepted = genuine.accepted(candidates, ball=everything, ask=genuine.always_wrong)
    assert_refused(genuine, rows, accepted)
    assert not genuine.accepted(candidates)[list(rows)].any()


@each_kind
@each_norm
@many_times
@given(data=st.data(), share=st.floats(0.0, 1.0))
def test_back_to_the_right_class(genuine, norm, data, share):
    """On the line to its original an example is refused as soon as the model is right again."""
    rows = some_rows(data, genuine)
    moved = spoilt(genuine, rows, lambda original, example: original + share * (example - original))
    with torch.no_grad():
        logits = genuine.model(moved)
        sure = margin(logits, genuine.labels).abs() > 1e-5 * logits.abs().amax(dim=1)
    inside = genuine.ball.holds(genuine.originals, moved)
    wrong = ~correct(logits, genuine.labels) & inside
    accepted = genuine.accepted(moved)
    assert torch.equal(accepted[sure], wrong[sure])
    assert not (accepted & ~wrong).any()
    back = spoilt(genuine, rows, lambda original, example: original)
    assert_refused(genuine, rows, genuine.accepted(back))


@each_kind
@each_norm
@many_times
@given(data=st.data())
def test_the_answer_is_the_label(genuine, norm, data):
    """Where the label says what the model answers, nothing is wrong and nothing is found."""
    rows = some_rows(data, genuine)
    labels = genuine.labels.clone()
    labels[list(rows)] = genuine.answers[list(rows)]
    assert_refused(genuine, rows, genuine.accepted(genuine.adversarial, labels=labels))


@each_kind
@each_norm
@many_times
@given(data=st.data(), logit=st.floats(-1e6, 1e6, width=32))
def test_a_tie_with_the_label(genuine, norm, data, logit):
    """Where all logits tie, the first class is the answer: wrong for every other label."""
    labels = data.draw(st.lists(st.integers(0, 3), min_size=12, max_size=12).map(torch.tensor))

    def tied(inputs):
        return torch.full((len(inputs), 4), logit)

    accepted = genuine.accepted(genuine.adversarial, labels=labels, ask=tied)
    assert torch.equal(accepted, labels != 0)


@pytest.mark.parametrize("kind", ["linear"])
@each_norm
def test_the_example_of_another_sample(genuine):
    """An example serves its own original alone, far from all others."""
    shifted = genuine.adversarial.roll(1, dims=0)
    strict = Ball(genuine.ball.norm, genuine.ball.eps / 4, genuine.ball.bounds)
    assert not genuine.accepted(shifted, ball=strict, ask=genuine.always_wrong).any()
