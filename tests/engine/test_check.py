"""`check`: a verdict without pytest, the same as the mark's."""

import subprocess
import sys

import pytest
import torch
from hypothesis import strategies as st

from pytest_aerobust import (
    ContractError,
    FloorBroken,
    Inconclusive,
    Outcome,
    check,
    epsilons,
    evaluate,
)
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.measurement.binding import Parts
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.session import Session


class Masked(torch.nn.Module):
    """Answers without a slope: whatever survives proves nothing."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(inputs).sign() + 0 * inputs.sum()


def test_a_pass_is_true_to_its_numbers(linear_problem):
    """The floor below the closed form's accuracy holds; enforcing it is silent."""
    model, x, y = linear_problem
    accuracy = evaluate(model, (x, y), attack="bim", eps=0.02).unfiltered.accuracy
    outcome = check(model, (x, y), "bim", 0.02, min_acc=accuracy, full=True)
    assert isinstance(outcome, Outcome)
    assert (outcome.passed, outcome.failed, outcome.inconclusive) == (True, False, False)
    assert outcome.evaluation.unfiltered.accuracy == accuracy
    assert outcome.evidence == outcome.evaluation.evidence
    assert str(outcome) == outcome.words
    outcome.enforce()


def test_a_failure_raises_its_words(linear_problem):
    """The first line has what broke, and nothing asks to run pytest again."""
    model, x, y = linear_problem
    outcome = check(model, (x, y), attack="bim", eps=0.1, min_acc=0.9)
    assert (outcome.passed, outcome.failed, outcome.inconclusive) == (False, True, False)
    with pytest.raises(FloorBroken, match=r"^robust accuracy .* < min_acc 0.900") as caught:
        outcome.enforce()
    assert "pytest" not in str(caught.value)


def test_void_evidence_is_inconclusive(linear_problem):
    """Gradients that show no way are told, and no pass comes of them."""
    model, x, y = linear_problem
    outcome = check(Masked(model), (x, y), "bim", 0.1, min_acc=0.5)
    assert outcome.inconclusive
    assert any(finding.weight == "void" for finding in outcome.evidence)
    with pytest.raises(Inconclusive):
        outcome.enforce()


@pytest.mark.parametrize(
    "stated",
    [
        {"attack": "bim", "eps": 0.03, "min_acc": 0.5},
        {"attack": "fgsm", "eps": epsilons(0.01, 0.05), "min_acc": {0.02: 0.9, 0.05: 0.8}},
        {"attack": "fgsm", "eps": st.sampled_from([0.01, 0.02]), "max_drop": 0.3},
        {"attack": "bim", "eps": 0.02, "vary": {"steps": st.integers(3, 9)}, "min_acc": 0.5},
        {"attack": "fgsm", "eps": 0.02, "min_acc": 0.6, "confidence": 0.95, "sequential": True},
        {"attack": "bim", "eps": 0.02, "target": {0: 1}, "max_target_hits": 0.5, "norm": "l2"},
        {"attack": "square", "eps": 0.02, "queries": 50, "min_acc": 0.5, "samples": 60, "seed": 3},
    ],
    ids=lambda stated: "-".join(stated),
)
def test_it_is_the_contract_of_the_mark(stated, linear_problem):
    """Whatever a mark can state, both say the same words of it."""
    model, x, y = linear_problem
    found = check(model, (x, y), **stated)
    (case,) = cases(**stated, filter=None)
    parts = Parts(model, (x, y), None, (0, 1), None)
    expected = Session(Settings()).guard(case.contract, parts, "check").check()
    assert found.words == expected.words
    assert found.verdict == expected.verdict


def test_a_filter_and_what_may_change(digits, digits_model, digits_filter):
    """Parts come as they are: a filter, a model of its own for the bare arm, a mask."""
    data = tuple(part[:60] for part in digits)
    told = {"attack": "bim", "eps": 0.1, "min_gain": -1.0, "min_acc": 0.0}
    parts = {"filter": digits_filter, "mutable": torch.arange(784).reshape(1, 28, 28) % 2 == 0}
    outcome = check(digits_model, data, unfiltered_model=digits_model, **parts, **told)
    assert outcome.evaluation.filtered is not None
    whole = check(digits_model, data, filter=digits_filter, full=True, **told).evaluation
    half = check(digits_model, data, **parts, full=True, **told).evaluation
    assert half.filtered.accuracy >= whole.filtered.accuracy


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"min_ac": 0.5}, r"check\(\) has no argument 'min_ac': did you mean min_acc"),
        ({"marks": ()}, r"check\(\) has no argument 'marks'"),
        ({}, "has no floor"),
        ({"max_regression": 0.1}, "no baseline to compare with"),
        ({"min_gain": 0.1}, "filter=None"),
        ({"min_acc": 0.5, "attack": ["bim", "fgsm"]}, "judges one contract"),
        ({"min_acc": 0.5, "eps": None}, "needs eps"),
    ],
)
def test_what_can_not_be_meant(stated, words, linear_problem):
    """Each says what was expected."""
    model, x, y = linear_problem
    with pytest.raises(ContractError, match=words):
        check(model, (x, y), **{"attack": "bim", "eps": 0.1, **stated})


def test_in_a_script(tmp_path):
    """Without pytest running, and nothing is written."""
    script = """
import torch
from pytest_aerobust import FloorBroken, check

inputs = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
model = torch.nn.Linear(4, 2)
weight, bias = torch.tensor([[-1.0], [1.0]]).expand(2, 4), torch.tensor([2.0, -2.0])
model.load_state_dict({"weight": weight, "bias": bias})
labels = model(inputs).argmax(dim=1)
try:
    check(model, (inputs, labels), attack="bim", eps=1.0, min_acc=0.99).enforce()
except FloorBroken as broken:
    print(str(broken).splitlines()[0])
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "min_acc 0.990" in run.stdout
    assert not [*tmp_path.iterdir()]
