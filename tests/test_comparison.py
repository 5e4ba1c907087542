"""An evaluation against an entry of the baseline, where inputs come more than once."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pytest_aerobust import evaluate
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.history.baseline.comparison import BaselineComparison
from pytest_aerobust.history.fingerprints import DataPrint
from pytest_aerobust.results.arm import Arm
from pytest_aerobust.subjects.subject import build_subject


@pytest.fixture
def past():
    """Two inputs, each three times, with an entry and the letters of today to be chosen."""
    inputs = torch.tensor([[0.1, 0.2], [0.9, 0.8]]).repeat(3, 1)
    labels = torch.tensor([0, 1]).repeat(3)
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
        model.bias.copy_(torch.tensor([1.0, -1.0]))
    subject = build_subject(model, (inputs, labels))
    (case,) = cases("bim", 0.01, max_regression=0.0)
    evaluation = evaluate(model, (inputs, labels), attack="bim", eps=0.01)

    def compared(then, now):
        data = DataPrint.of(subject.samples)
        before, after = (replace(evaluation, unfiltered=Arm(letters)) for letters in (then, now))
        entry = BaselineComparison(case.contract, subject, data, None).measured(before)
        return BaselineComparison(case.contract, subject, data, entry).compared(after)

    return compared


@pytest.mark.parametrize(
    ("then", "now", "lost", "won", "distinct"),
    [
        ("ssssss", "ssssss", 0, 0, (0, 0, 0, 0)),
        # The same number of copies stands: nobody knows which copy was which.
        ("sssssb", "sbssss", 0, 0, (0, 0, 0, 0)),
        ("ssssss", "sbsbss", 2, 0, (1, 0, 1, 0)),
        ("sbsbsb", "ssssss", 0, 3, (0, 1, 0, 1)),
        ("sssbss", "sssbsb", 1, 0, (0, 0, 0, 0)),
        ("bsbsbs", "sbsbsb", 3, 3, (1, 1, 1, 1)),
        ("ssssss", "sussss", 0, 0, (0, 0, 1, 0)),
    ],
)
def test_copies_are_compared_by_how_many_stand(past, then, now, lost, won, distinct):
    """Each copy is a sample at hand; of a population each input is one draw, by its worst copy."""
    found = past(then, now)
    assert (len(found.lost), len(found.won), found.distinct) == (lost, won, distinct)


def test_an_entry_is_the_same_whichever_copy_fell(past):
    """A loader that shuffles copies makes no difference in a diff."""
    assert past("sssssb", "sssssb") == past("sbssss", "sssssb")
