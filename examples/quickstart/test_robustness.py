"""What the digit classifier must withstand, with its autoencoder filter in front."""

import pytest
from hypothesis import strategies as st

from pytest_aerobust import FloorBroken, epsilons, robust


@robust(attack=["fgsm", "bim"], eps=0.02, min_acc=0.85)
def test_withstands_small_budgets():
    """An attacker who knows model and filter may change every pixel by 2 %."""


@robust(attack="bim", eps=0.15, threat="gray-box", min_gain=0.1)
def test_filter_helps_against_who_does_not_know_it():
    """Examples crafted on the bare model lose much of their effect behind the filter."""


@robust(
    attack="bim",
    eps=0.15,
    threat="white-box",
    min_gain=0.1,
    marks=pytest.mark.xfail(raises=FloorBroken, strict=True),
)
def test_filter_helps_against_who_knows_it():
    """The same filter, once the attacker knows it: the gain is gone."""


@robust(attack="fgsm", eps=epsilons(0.01, 0.05), min_acc=0.7)
def test_withstands_every_budget_of_a_range():
    """Hypothesis draws the budgets; a failure would name the smallest that breaks the floor."""


@robust(vary={"brightness": st.floats(-0.1, 0.1)}, min_acc=0.85)
def test_withstands_any_light():
    """Hypothesis draws how bright or dark the images are; a failure would be shrunk."""


@robust(attack="pgd", norm="l2", eps=0.2, max_drop=0.2)
def test_loses_little_in_l2(robustness):
    """The body may look at the numbers before the contract is checked."""
    assert robustness().filtered.clean_accuracy > 0.85
