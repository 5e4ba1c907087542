"""A pass that rests on nothing is no pass, however the run got there."""

import pytest
import torch
from torch import nn

from pytest_aerobust import FloorBroken, Inconclusive, epsilons
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.measurement.binding import Parts
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.session import Session


@pytest.fixture
def judged(model, data):
    """The verdict on a mark's contract, as a test item gets it."""

    def run(under_test=model, on=data, full=False, unfiltered_model=None, **mark):
        (case,) = cases(**{"attack": "bim", "eps": 0.1, **mark})
        settings = Settings(full=full)
        parts = Parts(under_test, on, None, (0.0, 1.0), unfiltered_model)
        return Session(settings).guard(settings.settle(case.contract), parts, "test").check()

    return run


class Blind(nn.Module):
    """Answers as its model, with gradients that are zero where `where` says so."""

    def __init__(self, model, where=lambda inputs: torch.ones(len(inputs), 1, dtype=torch.bool)):
        super().__init__()
        self.model, self.where = model, where

    def forward(self, inputs):
        logits = self.model(inputs)
        return torch.where(self.where(inputs), logits.detach() + 0 * logits, logits)


def test_floor_held_and_broken(judged):
    """Without anything to object, the floor alone decides."""
    assert judged(eps=0.01, min_acc=0.5).verdict.outcome == "passed"
    with pytest.raises(FloorBroken, match=r"robust accuracy .* < min_acc 0\.900"):
        judged(eps=0.5, min_acc=0.9).enforce("test")


def test_blind_gradients_withhold_a_pass(judged, model):
    """A floor that holds only because nothing could move is inconclusive, and fails the test
    (BAD INPUTS 1.1).
    """
    result = judged(Blind(model), eps=0.02, min_acc=0.9)
    assert result.verdict.outcome == "inconclusive"
    with pytest.raises(Inconclusive, match="have no gradient") as info:
        result.enforce("test")
    assert str(info.value).startswith("INCONCLUSIVE: robust accuracy")
    assert "black-box" in str(info.value)


@pytest.mark.parametrize("full", [True, False])
def test_an_early_stop_has_the_verdict_of_the_full_run(judged, model, full):
    """Samples that come late in the data are weighed before a pass, too."""
    inputs = torch.rand(400, 4, generator=torch.Generator().manual_seed(3))
    inputs[:200, 3] /= 2
    inputs[200:, 3] = 0.6 + inputs[200:, 3] * 0.4
    half_blind = Blind(model, where=lambda x: x[:, 3:] > 0.55)
    labels = half_blind(inputs).argmax(dim=1)
    found = judged(half_blind, (inputs, labels), eps=0.02, min_acc=0.3, full=full)
    assert found.verdict.outcome == "inconclusive"


def test_a_proof_beats_a_doubt(judged, model):
    """Where one budget of a range is proven to break the floor, the contract has failed."""
    contract = {"attack": "pgd", "min_acc": 0.8}
    assert judged(Blind(model), eps=0.9, **contract).verdict.outcome == "failed"
    found = judged(Blind(model), eps=epsilons(0.02, 0.9, max_examples=2), **contract)
    assert found.verdict.outcome == "failed"


def test_vacuous_floors_are_said(judged):
    """A floor that answering the commonest class would hold is named in the result
    (BAD INPUTS 1.6, 5.12).
    """
    notes = "\n".join(judged(eps=0.01, min_acc=0.3).evaluation.notes)
    assert "min_acc=0.3 is vacuous: always answering the commonest class gives 0." in notes


def test_accuracy_below_chance_withholds_a_pass(judged, data):
    """Labels out of order can't pass a floor, however low (BAD INPUTS 2.3)."""
    inputs, labels = data
    found = judged(on=(inputs, 1 - labels), min_acc=0)
    assert found.verdict.outcome == "inconclusive"
    with pytest.raises(Inconclusive, match=r"clean accuracy 0.00 is below chance"):
        found.enforce("test")


def test_a_budget_of_zero_is_labelled(judged):
    """eps=0 checks the clean accuracy and says that it was nothing more."""
    found = judged(eps=0, min_acc=1)
    assert found.verdict.outcome == "passed"
    assert any("the accuracies are the clean ones" in note for note in found.evaluation.notes)


def test_filter_none_judges_the_model(judged, around):
    """A mark with filter=None is about the model, not about the bare arm's own model."""
    broken = around(behind=lambda z: z.flip(1))
    sound = around()
    found = judged(broken, unfiltered_model=sound, filter=None, eps=0.01, min_acc=0.5)
    assert found.verdict.outcome == "failed"
