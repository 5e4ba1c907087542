"""Floors are exact: integer counts against the fraction of a decimal text."""

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_aerobust import Arm, ContractError, Evaluation, Evidence, robust
from pytest_aerobust.contract.arguments import checked_floor
from pytest_aerobust.contract.floors import FLOOR_NAMES, Floors
from pytest_aerobust.evidence.notes import vacuous_notes
from pytest_aerobust.evidence.sanity import clean_evidence
from pytest_aerobust.verdict.judge import judge

MEASURED = Evaluation(
    attack="bim",
    label="BIM Linf",
    norm="linf",
    eps=0.1,
    threat="white-box",
    target=None,
    arguments={},
    seed=0,
    unfiltered=Arm("s"),
    filtered=None,
)


def outcome(floors, outcomes, **changes):
    return judge(floors, replace(MEASURED, unfiltered=Arm(outcomes), **changes)).outcome


@pytest.mark.parametrize("name", FLOOR_NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, "0.9", True, [0.9], 1j])
def test_floors_that_are_no_number(refused, name, value):
    """A floor that is no number is refused with its name, what came and its range."""
    least = -1 if name == "min_gain" else 0
    with refused(ContractError, f"{name}={value!r}: expected a number in [{least}, 1]"):
        robust("bim", 0.1, target=1, **{name: value})


@pytest.mark.parametrize(
    ("value", "meant"), [(90, "0.9"), (99.5, "0.995"), (100, "1"), (5, "0.05")]
)
def test_floors_in_percent(refused, value, meant):
    """A percentage is refused with the share that was probably meant (BAD INPUTS 5.12)."""
    with refused(ContractError, f"min_acc={value:g} is outside [0, 1]; did you mean {meant}?"):
        robust("bim", 0.1, min_acc=value)


def test_floor_just_above_one(refused):
    """Nobody means 1.5 percent by 1.5: no share is proposed."""
    with refused(ContractError, "min_acc=1.5 is outside [0, 1]") as info:
        robust("bim", 0.1, min_acc=1.5)
    assert "0.015" not in str(info.value)


@pytest.mark.parametrize(
    ("name", "value"), [("min_acc", -0.1), ("max_drop", 101), ("min_gain", -2), ("min_gain", -1.01)]
)
def test_floors_outside_their_range(refused, name, value):
    """A floor outside its range is refused, without a proposal where there is none."""
    with refused(ContractError, f"{name}={value:g} is outside [") as info:
        robust("bim", 0.1, **{name: value})
    assert "did you mean" not in str(info.value)


def test_gains_may_be_negative():
    """A filter may be allowed to cost accuracy."""
    assert checked_floor("min_gain", -0.05) == Fraction(-1, 20)


@pytest.mark.parametrize(
    "value", [Fraction(1, 3), Fraction(2, 3), Fraction(5, 6), Fraction(1, 7), Fraction(6, 7)]
)
def test_fractions_are_taken_as_they_are(value):
    """A floor given as a fraction is that fraction."""
    assert checked_floor("min_acc", value) == value
    n = value.denominator
    robustly = "s" * value.numerator
    assert outcome(Floors(min_acc=checked_floor("min_acc", value)), robustly.ljust(n, "b")) == (
        "passed"
    )


def test_senseless_fractions(refused):
    """A fraction outside the range is refused as any other number."""
    with refused(ContractError, "min_acc", "is outside [0, 1]"):
        robust("bim", 0.1, min_acc=Fraction(3, 2))
    with refused(ContractError, "eps", "a budget is a radius"):
        robust("bim", Fraction(-1, 3), min_acc=0.5)


def test_decimals_are_numbers():
    """The standard library's exact decimal is the most exact text of a floor."""
    assert checked_floor("min_acc", Decimal("0.9")) == Fraction(9, 10)


@pytest.mark.parametrize("text", ["0.9", "0.6", "0.7"])
def test_single_precision_floors_mean_their_text(text):
    """NumPy prints a float32 of 0.6 as 0.6, and so it is meant."""
    assert checked_floor("min_acc", np.float32(text)) == Fraction(text)


def test_no_floor_stays_none():
    """A floor that is not stated demands nothing."""
    assert checked_floor("min_acc", None) is None
    assert not Floors()


@given(st.data(), st.integers(1, 5000), st.integers(0, 6))
def test_floors_are_decimal_arithmetic(data, samples, digits):
    """A floor of d / 10**p is held by k of n exactly where k * 10**p >= d * n (BAD INPUTS 1.16)."""
    scale = 10**digits
    survivors = data.draw(st.integers(0, samples), label="survivors")
    # Drawn around the exact ratio, where rounding would decide.
    numerator = data.draw(
        st.one_of(
            st.integers(0, scale),
            st.sampled_from([survivors * scale // samples, -(-survivors * scale // samples)]),
        ),
        label="numerator",
    )
    value = numerator / scale
    floor = checked_floor("min_acc", value)
    assert floor == Fraction(Decimal(numerator).scaleb(-digits))
    beaten = samples - survivors
    passes = outcome(Floors(min_acc=floor), "s" * survivors + "b" * beaten) == "passed"
    assert passes == (survivors * scale >= numerator * samples)
    drops = outcome(Floors(max_drop=floor), "s" * survivors + "b" * beaten) == "passed"
    assert drops == (beaten * scale <= numerator * samples)


@pytest.mark.parametrize("samples", [10, 100, 1000, 1873])
def test_floor_exactly_reached(samples):
    """A robust count exactly at the floor passes, one sample less fails (BAD INPUTS 5.25)."""
    allowed = samples // 10
    floors = Floors(min_acc=checked_floor("min_acc", 0.9))
    survivors = samples - allowed
    assert outcome(floors, "s" * survivors + "b" * allowed) == "passed"
    assert outcome(floors, "s" * (survivors - 1) + "b" * (allowed + 1)) == "failed"


@pytest.mark.parametrize("name", ["min_acc", "min_clean_acc", "max_drop", "max_target_hits"])
def test_floor_exactly_reached_from_either_side(name):
    """Every floor is inclusive."""
    outcomes = {
        "min_acc": "s" * 3 + "b" * 7,
        "min_clean_acc": "s" * 3 + "-" * 7,
        "max_drop": "s" * 7 + "b" * 3,
        "max_target_hits": "s" * 7 + "t" * 3,
    }[name]
    floors = Floors(**{name: checked_floor(name, 0.3)})
    assert outcome(floors, outcomes) == "passed"


def test_clean_mistakes_count_against_the_floor():
    """A sample that is wrong before any attack is no survivor."""
    floors = Floors(min_acc=Fraction(1, 2))
    assert outcome(floors, "ss--") == "passed"
    assert outcome(floors, "s---") == "failed"


def test_pending_samples_never_pass():
    """A pass waits until enough survivors have faced the attack; a fail does not."""
    floors = Floors(min_acc=Fraction(9, 10))
    assert outcome(floors, "s" * 8 + "??") == "undecided"
    assert outcome(floors, "s" * 9 + "?") == "passed"
    assert outcome(floors, "bb" + "?" * 8) == "failed"


def test_void_evidence_withholds_only_a_pass():
    """What voids a pass never touches a fail, which rests on its examples."""
    void = (Evidence("gradients", "unfiltered", "void", "..."),)
    floors = Floors(min_acc=Fraction(1, 2))
    assert outcome(floors, "ss", evidence=void) == "inconclusive"
    assert outcome(floors, "bb", evidence=void) == "failed"


@given(st.integers(1, 300), st.data())
def test_floor_at_the_majority_is_vacuous(samples, data):
    """A floor is vacuous exactly where the commonest class alone holds it."""
    common = data.draw(st.integers((samples + 1) // 2, samples))
    labels = torch.tensor([0] * common + [1] * (samples - common))
    floor = data.draw(
        st.one_of(
            st.just(Fraction(common, samples)),
            st.fractions(0, 1, max_denominator=1000),
        )
    )
    said = vacuous_notes({"min_acc": floor}, labels)
    assert bool(said) == (floor <= Fraction(common, samples))


@pytest.mark.parametrize("name", ["min_acc", "min_clean_acc"])
def test_vacuous_floors_are_named(name):
    """The note names the floor and the accuracy of the commonest class (BAD INPUTS 1.6, 5.12)."""
    (said,) = vacuous_notes({name: Fraction(1, 2)}, torch.tensor([0, 0, 0, 1]))
    assert said.startswith(f"{name}=0.5 is vacuous")
    assert "commonest class gives 0.75" in said


@pytest.mark.parametrize("floors", [Floors(max_drop=1), Floors(max_target_hits=1)])
def test_ceilings_that_nothing_breaks_are_vacuous(floors):
    """max_drop=1 allows the attacker everything, so the contract demands nothing."""
    assert vacuous_notes(floors.at(0.1), torch.tensor([0, 0, 1]))


@given(st.integers(2, 400), st.data())
def test_accuracy_at_chance_voids_a_pass(samples, data):
    """A clean accuracy of at most the commonest class's share is void, however it divides
    (BAD INPUTS 2.3).
    """
    common = data.draw(st.integers((samples + 1) // 2, samples))
    right = data.draw(st.integers(0, samples))
    labels = torch.tensor([0] * common + [1] * (samples - common))
    found = clean_evidence(torch.arange(samples) < right, labels, "unfiltered")
    assert bool(found) == (right <= common)
    assert all(finding.void for finding in found)


def test_shuffled_labels_are_said(attacked, data):
    """Labels out of order give an accuracy below chance, which voids a pass and says so
    (BAD INPUTS 5.10).
    """
    inputs, labels = data
    (finding,) = [
        e for e in attacked(on=(inputs, 1 - labels), eps=0).evidence if e.name == "clean accuracy"
    ]
    assert finding.void
    assert "clean accuracy 0.00 is below chance" in finding.text
    assert "the labels in the order of the inputs and of the model's classes" in finding.text
