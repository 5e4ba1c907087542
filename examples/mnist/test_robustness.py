"""The paper's attacks against its network and filter, under both threats."""

import pytest

from pytest_aerobust import FloorBroken, robust

broken = pytest.mark.xfail(raises=FloorBroken, strict=True)


@robust(attack=["fgsm", "bim"], eps=0.1, threat="gray-box", min_acc=0.7)
@robust(attack="fgsm", eps=0.1, target=5, threat="gray-box", min_acc=0.7, max_target_hits=0.15)
def test_filter_holds_against_who_does_not_know_it():
    """At a third of the usual budget the filter does what the paper says of it."""


@robust(attack=["fgsm", "bim"], eps=0.1, threat="white-box", min_acc=0.7, marks=broken)
@robust(attack="fgsm", eps=0.1, target=5, threat="white-box", min_acc=0.7, marks=broken)
def test_filter_holds_against_who_knows_it():
    """The same floor, once the attacker sends gradients through the filter: it breaks."""


@robust(attack=["fgsm", "bim"], eps=0.3, threat="gray-box", min_acc=0.7, marks=broken)
@robust(attack="fgsm", eps=0.3, target=5, threat="gray-box", min_acc=0.7, marks=broken)
@robust(attack=["fgsm", "bim"], eps=0.3, threat="white-box", min_acc=0.7, marks=broken)
@robust(attack="fgsm", eps=0.3, target=5, threat="white-box", min_acc=0.7, marks=broken)
def test_filter_holds_at_the_usual_budget():
    """At the field's usual budget for MNIST it breaks even for who does not know the filter."""
