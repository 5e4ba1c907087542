"""Attacks by their plain names, attackers who only ask, and how often they may."""

import eagerpy as ep
import numpy as np
import pytest
import torch
from foolbox.attacks import (
    BoundaryAttack,
    HopSkipJumpAttack,
    LinearSearchBlendedUniformNoiseAttack,
)
from foolbox.attacks.base import MinimizationAttack
from foolbox.distances import linf
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import nn

from pytest_aerobust import evaluate
from pytest_aerobust.attacks.foolbox import queries
from pytest_aerobust.attacks.foolbox.hop_skip_jump import HopSkipJump
from pytest_aerobust.contract.catalogue import PLAIN
from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.contract.waivers import CHECKS
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.subjects.sklearn.black_box import BlackBox
from pytest_aerobust.subjects.subject import build_subject
from pytest_aerobust.verdict.judge import judge
from pytest_aerobust.verdict.words import explain

# What the checks of the evidence ask is no question of the attacker.
UNCHECKED = dict.fromkeys(CHECKS, "the attacker's own questions are counted")


class Border(nn.Module):
    """Logits [-z, z] of z = w.x + b, counting how often each input's sample is asked about."""

    def __init__(self, scale=1.0, shift=0.0):
        super().__init__()
        rng = np.random.default_rng(3)
        self.weight = nn.Parameter(torch.tensor(rng.normal(size=16), dtype=torch.float32) / scale)
        centre = scale * 0.49 + shift
        self.bias = -float((self.weight.detach() * centre).sum())
        self.asked = []

    def forward(self, inputs):
        self.asked.append(len(inputs))
        z = inputs.flatten(1) @ self.weight + self.bias
        return torch.stack([-z, z], dim=1)

    def distances(self, inputs, norm):
        z = (inputs.flatten(1) @ self.weight + self.bias).abs().detach().double()
        weight = self.weight.detach().double()
        return z / {"linf": weight.abs().sum(), "l2": weight.norm(), "l1": weight.abs().max()}[norm]


def problem(samples=20, scale=1.0, shift=0.0):
    """A border, images (N, 1, 4, 4) near it, and their labels."""
    model = Border(scale, shift)
    rng = np.random.default_rng(5)
    inputs = torch.tensor(rng.uniform(0.4, 0.6, (samples, 1, 4, 4)), dtype=torch.float32)
    inputs = inputs * scale + shift
    return model, (inputs, model(inputs).argmax(dim=1))


def survived(evaluation):
    return np.array([letter == "s" for letter in evaluation.unfiltered.outcomes])


# Less work than the defaults: what is tested is that each attack runs and is judged.
QUICK = {
    "boundary": {"steps": 60},
    "hop-skip-jump": {"steps": 2, "initial_gradient_eval_steps": 10},
    "salt-and-pepper": {"steps": 60},
    "blended-noise": {"steps": 20, "directions": 20},
    "gen-attack": {"steps": 10},
    "carlini-wagner": {"steps": 40, "binary_search_steps": 2, "initial_const": 1.0},
    "ead": {"steps": 40, "binary_search_steps": 2, "initial_const": 1.0},
    "blur": {"steps": 20},
    "vat": {"steps": 5},
    "uniform-noise": {"repeats": 20},
    "gaussian-noise": {"repeats": 20},
}
BUDGETS = {"linf": 0.04, "l2": 0.12, "l1": 0.4, "l0": 4}  # of 16 numbers in [0, 1]
STEADY = [
    (name, norm)
    for name, row in PLAIN.items()
    for norm in row.norms
    if name != "brendel-bethge"  # it needs a package that is not there
]


@pytest.mark.parametrize(("name", "norm"), STEADY, ids=lambda value: value)
def test_every_plain_name_runs_and_never_beats_the_closed_form(name, norm):
    """No attack is credited with less than the distance to the border, and none breaks down."""
    model, data = problem()
    target = {0: 1, 1: 0} if PLAIN[name].target == "only" else None
    eps = 4 if norm == "l0" else float(model.distances(data[0], norm).median())
    found = evaluate(
        model,
        data,
        attack=name,
        norm=norm,
        eps=eps,
        target=target,
        attack_args=QUICK.get(name),
    )
    assert not any(e.void and e.name == "candidates" for e in found.evidence)
    if norm != "l0":
        out_of_reach = (model.distances(data[0], norm) > eps + 1e-5).numpy()
        assert survived(found)[out_of_reach].all()
        assert 5 < out_of_reach.sum() < 15


DECIDING = ["boundary", "hop-skip-jump", "pointwise", "uniform-noise", "contrast", "gen-attack"]


@pytest.mark.parametrize(("scale", "shift"), [(255.0, 0.0), (2.0, -1.0)], ids=["255", "minus-one"])
@pytest.mark.parametrize("name", DECIDING)
def test_other_bounds_are_the_same_problem(name, scale, shift):
    """Moved and stretched with its bounds and its budget, a problem has the same outcome."""
    row = PLAIN[name]
    norm = "l2" if "l2" in row.norms else row.default_norm
    settings = {
        "attack": name,
        "norm": norm,
        "target": {0: 1, 1: 0} if row.target == "only" else None,
        "attack_args": QUICK.get(name),
    }
    eps = 3 * BUDGETS[norm]
    model, data = problem()
    plain = survived(evaluate(model, data, eps=eps, **settings))
    model, data = problem(scale=scale, shift=shift)
    moved = evaluate(model, data, eps=eps * scale, bounds=(shift, scale + shift), **settings)
    assert not any(finding.void for finding in moved.evidence)
    # Rounding decides a sample whose candidate lies at the edge of the ball.
    assert (survived(moved) != plain).sum() <= 2
    assert moved.unfiltered.beaten > 0


@pytest.mark.parametrize("queries", [1, 7, 60])
@pytest.mark.parametrize("name", [*DECIDING, "salt-and-pepper", "blended-noise", "blur"])
def test_queries_are_counted_and_never_exceeded(name, queries):
    """What is reported is what the model was asked, starts and line searches included."""
    model, data = problem()
    target = {0: 1, 1: 0} if PLAIN[name].target == "only" else None
    model.asked.clear()
    told = {"eps": 1e-6, "target": target, "queries": queries, "waive": UNCHECKED}
    found = evaluate(model, data, attack=name, **told)
    # The clean pass, the two looks at its rounding, and the verification of what was found are no
    # questions of the attacker.
    asked = sum(model.asked[2:])
    assert found.queries.limit == queries
    assert 0 < found.queries.most <= queries
    assert found.queries.mean * 20 <= asked <= queries * 20 + 40
    assert not any(finding.void for finding in found.evidence)


def test_more_queries_find_more():
    """A budget decides how much is found; without one, the attack's own settings do."""
    model, data = problem(64)
    beaten = [
        evaluate(model, data, attack="boundary", eps=0.3, queries=queries).unfiltered.beaten
        for queries in (1, 30, 300)
    ]
    assert beaten[0] < beaten[1] <= beaten[2]


def test_who_has_fallen_is_asked_for_no_more():
    """An example counts in the query that finds it, and ends the search for its sample."""
    model, data = problem(30)
    found = evaluate(model, data, attack="uniform-noise", eps=0.2)
    assert found.unfiltered.survivors < 3
    assert found.queries.mean < 60 < found.queries.most + 60
    assert found.queries.limit is None


def test_a_sample_without_a_start_costs_the_others_nothing():
    """Its draws are its own: the others keep their queries for the search."""
    model, data = problem(30)

    class Stubborn(nn.Module):
        def forward(self, inputs):
            logits = model(inputs)
            return torch.where(
                inputs.flatten(1)[:, :1] > 0.9999, torch.tensor([[0.0, 9.0]]), logits
            )

    inputs, labels = data
    odd = torch.full((1, 1, 4, 4), 0.5)
    odd[0, 0, 0, 0] = 1.0
    both = torch.cat([odd, inputs]), torch.cat([torch.ones(1, dtype=labels.dtype), labels])
    alone = evaluate(Stubborn(), data, attack="hop-skip-jump", eps=0.2, queries=100)
    joined = evaluate(Stubborn(), both, attack="hop-skip-jump", eps=0.2, queries=100)
    assert alone.unfiltered.beaten > 10
    assert joined.unfiltered.beaten >= alone.unfiltered.beaten - 3


def test_queries_in_words():
    """The budget stands beside the threat, and what was taken of it in a line of its own."""
    model, data = problem()
    found = evaluate(model, data, attack="boundary", eps=0.3, queries=50)
    words = explain(judge(Floors(min_acc=1), found), found)
    assert "black-box, within 50 queries a sample, no filter" in words.splitlines()[0]
    assert "asked up to " in words
    assert Evaluation.from_dict(found.to_dict()) == found


class Waiting(MinimizationAttack):
    """Asks the same until it is told what it wants, as Foolbox's loops may."""

    distance = linf

    def __init__(self, step=0.0):
        self.step = step

    def run(self, model, inputs, criterion, *, early_stop=None, **kwargs):
        moved = ep.astensor(inputs)
        while True:
            moved = moved + self.step
            model(moved)


class Unmoved(HopSkipJumpAttack):
    """A decision attack by its base, and a loop without an end."""

    run = Waiting.run
    step = 0.0

    def __init__(self, step=0.0):
        super().__init__(init_attack=Waiting())
        self.step = step


@pytest.mark.parametrize("step", [0.0, 1e-9])
def test_an_attack_without_an_end_is_ended(step, monkeypatch):
    """Asking the same on and on, or on and on: it ends, and what it leaves is no evidence."""
    monkeypatch.setattr(queries, "CEILING", 300)
    monkeypatch.setattr(queries, "_REPEATS", 200)
    model, data = problem()
    waive = {"noise": "the attack alone is counted"}
    found = evaluate(model, data, attack=Unmoved(step), eps=0.1, waive=waive)
    assert found.unfiltered.survivors == 20
    assert any(finding.void and finding.name == "candidates" for finding in found.evidence)


def test_a_budget_ends_it_in_peace():
    """Within queries= it is no loop without an end, but a search that found nothing."""
    model, data = problem()
    found = evaluate(model, data, attack=Unmoved(1e-9), eps=0.1, queries=40)
    assert found.queries.most == 40
    assert not any(finding.void for finding in found.evidence)


@pytest.mark.parametrize("name", ["boundary", "hop-skip-jump", "pointwise", "uniform-noise"])
def test_chunks_change_nothing(name):
    """The same samples fall, after the same questions, whatever the size of a chunk."""
    from pytest_aerobust.contract.attack import chosen
    from pytest_aerobust.measurement.measure import measure
    from pytest_aerobust.measurement.measurement import Measurement

    model, data = problem(70)
    measurement = Measurement(chosen(name, None, None, QUICK.get(name)), 0.15, "black-box")
    subject = build_subject(model, data)
    first, second = (measure(subject, measurement, chunk=chunk) for chunk in (10, 70))
    assert first.unfiltered == second.unfiltered
    assert first.queries == second.queries


def test_hop_skip_jump_does_not_mix_its_batch():
    """A direction's length is one, whatever the company; Foolbox divides by the whole batch's."""
    model, (inputs, labels) = problem(8)
    weight = model.weight.detach()
    z = inputs.flatten(1) @ weight + model.bias
    border = inputs - (z[:, None] * weight / weight.norm() ** 2).reshape(inputs.shape)
    points = ep.astensor(border.detach())

    def decide(probes):
        return ep.astensor(model(probes.raw).argmax(dim=1) != labels)

    ours = HopSkipJump().approximate_gradients(
        decide, points, 50, ep.astensor(torch.full((8,), 0.1))
    )
    assert torch.allclose(ours.raw.flatten(1).norm(dim=1), torch.ones(8), atol=1e-5)
    away = torch.where(labels[:, None] == 1, -1.0, 1.0) * weight
    assert (torch.cosine_similarity(ours.raw.flatten(1), away) > 0.3).all()


@pytest.mark.parametrize("name", ["carlini-wagner", "ead"])
def test_the_empty_images_of_a_failure_do_not_count(name):
    """Where they fail, both hand back an image of zeros, which is of another class here."""

    class Dark(nn.Module):
        def forward(self, inputs):
            flat = inputs.flatten(1)
            dark = (flat.sum(dim=1) < 0.1).float()
            return (
                torch.stack([dark + 0 * flat[:, 0], 0.5 + 0 * flat[:, 0]], dim=1) + 0 * flat[:, :1]
            )

    inputs = torch.cat([torch.zeros(1, 4), torch.rand(20, 4) * 0.2 + 0.7])
    data = (inputs, Dark()(inputs).argmax(dim=1))
    args = {"steps": 3, "binary_search_steps": 1}
    found = evaluate(Dark(), data, attack=name, eps=0.3, attack_args=args)
    assert found.unfiltered.outcomes[1:] == "s" * 20


@pytest.mark.parametrize(("name", "norm"), [("ddn", "l2"), ("fmn", "linf"), ("fmn", "l2")])
def test_vanished_gradients_find_nothing(name, norm):
    """DDN and FMN divide by norms that can be zero: whatever comes of it beats nobody."""

    class Flat(nn.Module):
        def forward(self, inputs):
            steps = (inputs.flatten(1)[:, :1] > 0.5).float()
            return torch.cat([1 - steps, steps], dim=1) + 0 * inputs.flatten(1)[:, :2]

    inputs = torch.rand(20, 4, generator=torch.Generator().manual_seed(1)) * 0.4
    inputs[:10, 0] = 0.9
    data = (inputs, Flat()(inputs).argmax(dim=1))
    found = evaluate(Flat(), data, attack=name, norm=norm, eps=0.01, steps=3)
    assert found.unfiltered.survivors == 20
    assert any(finding.void for finding in found.evidence)


@pytest.fixture(scope="module")
def written():
    """Digits (N, 64) in [0, 1]: 600 to learn from, 60 to be attacked."""
    inputs, labels = load_digits(return_X_y=True)
    inputs = (inputs / 16).astype(np.float32)
    return inputs[:600], labels[:600], (inputs[600:660], labels[600:660])


ESTIMATORS = {
    "forest": lambda: RandomForestClassifier(10, random_state=0),
    "neighbours": lambda: KNeighborsClassifier(4),
    "machine": SVC,
}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_estimators_without_a_twin_are_asked(kind, written):
    """Clean answers are the estimator's own, and every example fools its `predict`."""
    inputs, labels, data = written
    estimator, seen = ESTIMATORS[kind]().fit(inputs, labels), {}
    found = evaluate(
        estimator,
        data,
        attack="hop-skip-jump",
        norm="l2",
        eps=2.0,
        queries=120,
        on_examples=lambda arm, samples, examples, answers: seen.update(
            zip(samples.tolist(), zip(examples.numpy(), answers.tolist(), strict=True), strict=True)
        ),
    )
    right = estimator.predict(data[0]) == data[1]
    assert found.unfiltered.correct == right.sum()
    assert 0 < len(seen) == found.unfiltered.beaten
    for sample, (example, answer) in seen.items():
        assert estimator.predict(example[None].astype(float))[0] == answer != data[1][sample]


def test_named_classes_of_a_black_box(written):
    """Labels are looked up among `classes_`, and the table of targets is theirs."""
    inputs, labels, (few, told) = written
    names = np.array([f"digit {n}" for n in range(10)])
    forest = RandomForestClassifier(10, random_state=0)
    plain = evaluate(
        forest.fit(inputs, labels), (few, told), attack="blended-noise", eps=0.3, steps=20
    )
    named = evaluate(
        forest.fit(inputs, names[labels]),
        (few, names[told]),
        attack="blended-noise",
        eps=0.3,
        steps=20,
    )
    assert named.classes[3] == "digit 3"
    assert named.unfiltered == plain.unfiltered


def test_ties_are_what_predict_makes_of_them(written):
    """Where the votes of neighbours tie, the answer leads, and the scores stay finite."""
    inputs, labels, _ = written
    neighbours = KNeighborsClassifier(2).fit(inputs, labels)
    noise = np.random.default_rng(0).random((300, 64)).astype(np.float32)
    votes = neighbours.predict_proba(noise)
    assert ((votes == 0.5).sum(axis=1) == 2).any()
    logits = BlackBox(neighbours, "")(torch.from_numpy(noise))
    assert logits.isfinite().all()
    best = logits.topk(2).values
    assert (best[:, 0] > best[:, 1]).all()
    assert (logits.argmax(dim=1).numpy() == neighbours.predict(noise)).all()


def test_a_forest_behind_a_filter(written):
    """Only the pipeline is asked; its filter is part of it."""
    inputs, labels, data = written
    forest = RandomForestClassifier(10, random_state=0).fit(inputs, labels)
    found = evaluate(
        forest, data, filter=nn.Hardtanh(0.0, 1.0), attack="uniform-noise", eps=0.3, queries=20
    )
    assert found.threat == "black-box"
    assert found.filtered.beaten > 0
    assert found.queries.most <= 20


def test_frames_with_named_columns():
    """An estimator that selects columns by name is asked with a DataFrame."""
    pandas = pytest.importorskip("pandas")
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(0)
    rows = rng.random((80, 3)).astype(np.float32)
    labels = (rows[:, 0] + rows[:, 2] > 1).astype(int)
    chosen = make_column_transformer(("passthrough", ["age", "income"]))
    model = make_pipeline(chosen, KNeighborsClassifier(3))
    model.fit(pandas.DataFrame(rows, columns=["age", "height", "income"]), labels)
    assert evaluate(model, (rows, labels), attack="boundary", eps=0.5, queries=50).unfiltered.beaten


class Doubled(BoundaryAttack):
    """A decision attack that asks twice as many inputs as there are samples."""

    def run(self, model, inputs, criterion, *, early_stop=None, **kwargs):
        model(torch.cat([inputs, (inputs + early_stop).clamp(0, 1)]))
        return inputs


def test_several_inputs_a_sample_are_counted_each():
    """An attack that asks in larger batches is granted no more answers for it."""
    model, data = problem()
    attack = Doubled(init_attack=LinearSearchBlendedUniformNoiseAttack())
    assert evaluate(model, data, attack=attack, eps=0.01).queries.most == 2
    assert evaluate(model, data, attack=attack, eps=0.01, queries=1).queries.most == 1
