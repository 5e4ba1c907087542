"""Targeted attacks on real digits, against what an independent computation says of them."""

import numpy as np
import pytest
import torch

from pytest_aerobust import Counterexamples, evaluate

EPS = 0.1


def untargeted(digits_model, inputs, labels):
    """How often each class is answered by which other under FGSM, by hand; ties are rare."""
    x = inputs.clone().requires_grad_()
    torch.nn.functional.cross_entropy(digits_model(x), labels).backward()
    with torch.no_grad():
        clean = digits_model(inputs).argmax(dim=1)
        attacked = digits_model((inputs + EPS * x.grad.sign()).clamp(0, 1)).argmax(dim=1)
    answers = torch.where(clean != labels, clean, attacked)
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (labels.numpy(), answers.numpy()), 1)
    np.fill_diagonal(counts, -1)
    return counts


@pytest.mark.parametrize("rule", ["natural", "non-natural"])
def test_derived_targets_are_those_of_the_untargeted_confusions(rule, digits, digits_model):
    """Natural: the commonest mistake under the same attack untargeted; non-natural: the rarest."""
    evaluation = evaluate(digits_model, digits, attack="fgsm", eps=EPS, target=rule)
    counts = untargeted(digits_model, *digits)
    if rule == "natural":
        assert evaluation.targets == tuple(counts.argmax(axis=1))
    else:
        counts[counts < 0] = counts.max() + 1
        assert evaluation.targets == tuple(counts.argmin(axis=1))
    assert evaluation.target == rule


def test_natural_targets_are_reached_more_often(digits, digits_model):
    """What a class is often mistaken for is nearer than what it is rarely mistaken for."""
    hits = [
        evaluate(digits_model, digits, attack="bim", eps=EPS, target=rule).unfiltered.target_hits
        for rule in ("natural", "non-natural")
    ]
    assert hits[0] > hits[1] + 0.1


def test_the_table_is_the_same_for_both_arms_and_any_threat(digits, digits_model, digits_filter):
    """The table comes from the bare model, so that arms and threats can be compared."""
    few = tuple(part[:300] for part in digits)
    tables = {
        evaluate(
            digits_model,
            few,
            filter=digits_filter,
            attack="bim",
            eps=EPS,
            target="natural",
            threat=threat,
        ).targets
        for threat in ("white-box", "gray-box", "behind-filter")
    }
    bare = evaluate(digits_model, few, attack="bim", eps=EPS, target="natural").targets
    assert tables == {bare}


def test_a_constant_mapping_equals_one_class(digits, digits_model):
    """Every other class mapped to 5 is the attack with target 5, sample by sample."""
    mapped = {label: 5 for label in range(10) if label != 5}
    one = evaluate(digits_model, digits, attack="bim", eps=0.2, target=5).unfiltered
    many = evaluate(digits_model, digits, attack="bim", eps=0.2, target=mapped).unfiltered
    assert many.outcomes == one.outcomes
    assert many.confusion == one.confusion


def test_a_class_without_a_target_is_not_attacked(digits, digits_model):
    """Samples of classes that a mapping leaves out are exempt, and a note says how many."""
    evaluation = evaluate(digits_model, digits, attack="bim", eps=0.3, target={3: 8})
    labels = digits[1]
    attacked = {
        int(label)
        for label, letter in zip(labels, evaluation.unfiltered.outcomes, strict=True)
        if letter in "sbt"
    }
    assert attacked == {3}
    assert f"{int((labels != 3).sum())} of 1000 samples are not attacked" in evaluation.notes[0]


def test_targeted_examples_go_where_they_were_sent(digits, digits_model):
    """A sample counted at its target is answered with its own class's target, seen again."""
    kept = Counterexamples()
    labels = digits[1]
    evaluation = evaluate(
        digits_model, digits, attack="bim", eps=0.2, target="natural", on_examples=kept
    )
    assert evaluation.unfiltered.outcomes.count("t") > 300
    for example in kept.of("unfiltered"):
        with torch.no_grad():
            answer = int(digits_model(example.adversarial[None]).argmax())
        assert answer == example.answer
        at_target = evaluation.unfiltered.outcomes[example.sample] == "t"
        assert at_target == (answer == evaluation.targets[int(labels[example.sample])])


def test_stock_attacks_take_a_target_for_each_sample(digits, digits_model):
    """Foolbox's own classes are sent to the same targets."""
    few = tuple(part[:100] for part in digits)
    arguments = {"eps": 0.2, "target": "natural", "steps": 10}
    own = evaluate(digits_model, few, attack="bim", **arguments).unfiltered
    stock = evaluate(digits_model, few, attack="LinfBasicIterativeAttack", **arguments).unfiltered
    assert stock.target_hits > 0.3
    assert own.target_hits >= stock.target_hits


@pytest.mark.parametrize("target", [None, 5, "natural"])
def test_the_confusion_matrix_is_that_of_the_examples(target, digits, digits_model, digits_filter):
    """Each arm's matrix counts clean answers, and for beaten samples those to their examples."""
    kept = Counterexamples()
    inputs, labels = digits
    evaluation = evaluate(
        digits_model,
        digits,
        filter=digits_filter,
        attack="bim",
        eps=EPS,
        target=target,
        on_examples=kept,
    )
    sides = {
        "unfiltered": digits_model,
        "filtered": torch.nn.Sequential(digits_filter, digits_model),
    }
    for name, side in sides.items():
        with torch.no_grad():
            answers = side(inputs).argmax(dim=1).numpy()
        assert evaluation.arms[name].clean_confusion == cells(labels, answers)
        for example in kept.of(name):
            answers[example.sample] = example.answer
        assert evaluation.arms[name].confusion == cells(labels, answers)


def cells(labels, answers):
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (labels.numpy(), answers), 1)
    return tuple((int(a), int(b), int(counts[a, b])) for a, b in np.argwhere(counts))


def test_chunks_change_neither_table_nor_matrix(digits, digits_model):
    """A subset that is drawn and attacked has its own, the order of the data plays no part."""
    inputs, labels = digits
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    told = {"attack": "bim", "eps": EPS, "target": "natural"}
    # Noise is drawn for each sample by its number in the data.
    told["waive"] = {"noise": "the attack alone is compared"}
    first = evaluate(digits_model, digits, **told)
    second = evaluate(digits_model, (inputs[order], labels[order]), **told)
    assert first.targets == second.targets
    assert first.unfiltered.confusion == second.unfiltered.confusion


def test_a_target_that_concerns_nobody_is_no_evidence(digits, digits_model):
    """A mapping of a class that the data lacks attacks nothing: the evidence is void."""
    without_threes = tuple(part[digits[1] != 3] for part in digits)
    evaluation = evaluate(digits_model, without_threes, attack="bim", eps=0.3, target={3: 8})
    assert [finding.name for finding in evaluation.evidence if finding.void] == ["targets"]
    present = evaluate(digits_model, digits, attack="bim", eps=0.3, target={3: 8})
    assert not any(finding.void for finding in present.evidence)
