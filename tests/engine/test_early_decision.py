"""An early stop decides as the full run would: on random contracts over random outcomes."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aerobust.contract.floors import Floors
from pytest_aerobust.results.arm import Arm
from pytest_aerobust.results.evaluation import Evaluation, Evidence
from pytest_aerobust.verdict.judge import judge

FINAL = "-sbte"


def evaluation(unfiltered, filtered, evidence=()):
    return Evaluation(
        attack="bim",
        label="BIM Linf",
        norm="linf",
        eps=0.3,
        threat="white-box",
        target=5,
        arguments={},
        seed=0,
        unfiltered=Arm(unfiltered),
        filtered=None if filtered is None else Arm(filtered),
        evidence=evidence,
    )


def shares(least=0):
    return st.none() | st.decimals(least, 1, places=3).map(lambda d: Fraction(str(d)))


@st.composite
def outcomes(draw):
    size = draw(st.integers(2, 60))
    arm = st.text(alphabet=FINAL, min_size=size, max_size=size)
    return draw(arm), draw(st.none() | arm)


@st.composite
def floors(draw, filtered):
    found = Floors(
        min_acc=draw(shares()),
        max_drop=draw(shares()),
        min_gain=draw(shares(-1)) if filtered else None,
        max_target_hits=draw(shares()),
        min_clean_acc=draw(shares()),
    )
    return found if found else Floors(min_acc=Fraction(1, 2))


def masked(final, known):
    """What is known after `known` samples: clean mistakes at once, the rest in order."""
    if final is None:
        return None
    return "".join(
        letter if place < known or letter in "-e" else "?" for place, letter in enumerate(final)
    )


@settings(max_examples=400, deadline=None)
@given(st.data(), outcomes(), st.integers(1, 9), st.booleans())
def test_the_early_verdict_is_the_full_one(data, arms, chunk, void):
    """The first decided verdict along the chunks equals that of the whole set, evidence too
    (BAD INPUTS 3.3).
    """
    unfiltered, filtered = arms
    demanded = data.draw(floors(filtered is not None))
    evidence = (
        Evidence(
            "gradients",
            "filtered" if filtered else "unfiltered",
            "void" if void else "sound",
            "",
        ),
    )
    full = judge(demanded, evaluation(unfiltered, filtered, evidence))
    assert full.outcome != "undecided"
    for known in range(0, len(unfiltered) + chunk, chunk):
        early = judge(
            demanded, evaluation(masked(unfiltered, known), masked(filtered, known), evidence)
        )
        if early.outcome != "undecided":
            break
    assert early.outcome == full.outcome


@settings(max_examples=200, deadline=None)
@given(outcomes(), st.data())
def test_intervals_only_shrink_and_hold_the_final_value(arms, data):
    """Knowing more never widens an interval, and the final value never leaves it."""
    final, _ = arms
    known = data.draw(st.integers(0, len(final)))
    more = data.draw(st.integers(known, len(final)))
    for name in ("accuracy_interval", "drop_interval", "target_hits_interval"):
        early = getattr(Arm(masked(final, known)), name)
        later = getattr(Arm(masked(final, more)), name)
        end = getattr(Arm(final), name)
        assert early.low <= later.low <= end.low == end.high <= later.high <= early.high


@given(st.integers(1, 1000), st.data())
def test_a_floor_is_held_by_exactly_the_counts_that_its_decimal_text_allows(samples, data):
    """900 of 1000 hold 0.9; one fewer does not."""
    survivors = data.draw(st.integers(0, samples))
    thousandths = data.draw(st.integers(0, 1000))
    arm = "s" * survivors + "b" * (samples - survivors)
    demanded = Floors(min_acc=Fraction(thousandths, 1000))
    verdict = judge(demanded, evaluation(arm, None))
    expected = "passed" if survivors * 1000 >= thousandths * samples else "failed"
    assert verdict.outcome == expected


def test_a_broken_clean_floor_fails_before_any_attack():
    """With every sample still open, a clean accuracy below the floor is already decided
    (BAD INPUTS 2.3).
    """
    verdict = judge(Floors(min_acc=Fraction("0.9")), evaluation("--" + "?" * 8, None))
    assert verdict.outcome == "failed"


def test_min_gain_weighs_the_evidence_of_both_arms():
    """A gain over an arm that could not be attacked is no gain."""
    void = (Evidence("gradients", "unfiltered", "void", "blind"),)
    arms = ("bbbb", "ssss")
    assert judge(Floors(min_gain=Fraction(1, 2)), evaluation(*arms, void)).outcome == "inconclusive"
    assert judge(Floors(min_acc=Fraction(1, 2)), evaluation(*arms, void)).outcome == "passed"
