"""Results as plain dicts: what is written down is read back as it was."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aerobust import Arm, Evaluation, Evidence

text = st.text(max_size=12)
cells = st.lists(st.tuples(*[st.integers(0, 99)] * 3), max_size=4).map(tuple)
arms = st.builds(
    Arm,
    outcomes=st.text("-sbte?", min_size=1, max_size=20),
    clean_confusion=cells,
    confusion=cells,
)
evidence = st.builds(
    Evidence,
    name=text,
    arm=st.sampled_from(["filtered", "unfiltered"]),
    weight=st.sampled_from(["sound", "void", "skipped", "waived"]),
    text=text,
)
evaluations = st.builds(
    Evaluation,
    attack=text,
    label=text,
    norm=st.sampled_from(["linf", "l2", "l1", "l0"]),
    eps=st.floats(0, 1e6),
    threat=st.sampled_from(["white-box", "gray-box", "black-box", "behind-filter"]),
    target=st.none() | st.integers(0, 999) | text,
    arguments=st.dictionaries(text, text, max_size=3),
    seed=st.integers(0, 2**63),
    unfiltered=arms,
    filtered=st.none() | arms,
    evidence=st.lists(evidence, max_size=3).map(tuple),
    notes=st.lists(text, max_size=3).map(tuple),
    targets=st.none() | st.lists(st.none() | st.integers(0, 99), max_size=3).map(tuple),
    classes=st.lists(text, max_size=3).map(tuple),
    seconds=st.floats(0, 1e6),
)


@settings(database=None, deadline=None)
@given(evaluations)
def test_an_evaluation_survives_json(evaluation):
    """`from_dict` of `to_dict`, through JSON, is the same evaluation, seconds included."""
    again = Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict())))
    assert again == evaluation
    assert again.seconds == evaluation.seconds


@settings(database=None, deadline=None)
@given(evaluations)
def test_a_dict_holds_plain_values(evaluation):
    """A result's dict holds dicts, lists and Python's own scalars, nothing else."""

    def plain(value):
        if type(value) is dict:
            return all(type(k) is str and plain(v) for k, v in value.items())
        if type(value) is list:
            return all(map(plain, value))
        return value is None or type(value) in (str, int, float, bool)

    assert plain(evaluation.to_dict())


@settings(database=None, deadline=None)
@given(arms)
def test_the_counts_of_an_arm_add_up(arm):
    """Every sample is wrong, beaten, a survivor or pending, and intervals follow from that."""
    wrong = arm.samples - arm.correct
    assert wrong + arm.beaten + arm.survivors + arm.pending == arm.samples
    low, high = arm.accuracy_interval
    assert 0 <= low <= high <= 1
    assert high - low == arm.drop_interval.high - arm.drop_interval.low
    assert (arm.pending == 0) == (low == high)
    # What is lost and what is kept make up the clean accuracy.
    assert low + arm.drop_interval.high == arm.clean_interval.low
