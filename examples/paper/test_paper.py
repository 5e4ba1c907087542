"""Every cell of the paper: its filters, classifiers and attacks, under three threats.

Each contract holds the paper's one claim that covers them all (section 6): behind an autoencoder,
accuracy drops by no more than 0.2. Whether it does is the finding, so a broken claim is expected:
``xpassed`` counts the cells where it holds, ``xfailed`` those where it does not.
"""

import pytest
from cells import ATTACKS, BUDGETS
from published import LARGEST_DROP

from pytest_aerobust import FloorBroken, Inconclusive, robust

finding = pytest.mark.xfail(raises=(FloorBroken, Inconclusive), strict=False)


def attacks(names=tuple(ATTACKS), eps=BUDGETS, **contract):
    """The paper's attacks as one decorator: a contract for each of them and each budget."""

    def decorated(test):
        for name in reversed(names):
            stated = {**ATTACKS[name], **contract}
            test = robust(eps=list(eps), max_drop=LARGEST_DROP, marks=finding, **stated)(test)
        return test

    return decorated


@attacks(model="bare", filter=None)
def test_no_filter(robustness):
    """The classifier alone, trained on the images themselves."""
    assert robustness().complete


@attacks(threat="behind-filter")
def test_behind_the_filter(robustness):
    """The paper's way: the perturbation is added to what the filter puts out."""
    assert robustness().complete


@attacks(threat="gray-box")
def test_who_does_not_know_the_filter(robustness):
    """Crafted on the classifiers alone, at the pipeline's input."""
    assert robustness().complete


@attacks(threat="white-box")
def test_who_knows_the_filter(robustness):
    """Crafted through the filter, at the pipeline's input."""
    assert robustness().complete


@attacks(("non-targeted (FGSM)", "BIM"), BUDGETS[1:3], model="bare", threat="gray-box")
def test_one_classifier_who_does_not_know_the_filter(robustness):
    """The classifier that was trained on images stands behind the filter as well."""
    assert robustness().complete


@attacks(("non-targeted (FGSM)", "BIM"), BUDGETS[1:3], model="bare", threat="white-box")
def test_one_classifier_who_knows_the_filter(robustness):
    """The same against an attacker who sends gradients through the filter."""
    assert robustness().complete
