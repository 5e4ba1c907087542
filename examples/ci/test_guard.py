"""What a commit may not cost: compared with the baseline beside this file, sample by sample."""

from pytest_aerobust import robust


@robust(attack=["fgsm", "bim"], eps=0.02, max_regression=0.04)
def test_stays_as_robust_as_it_was():
    """An attacker who knows the model may change every pixel by 2 %."""


@robust(attack="pgd", norm="l2", eps=0.2, min_acc=0.8, max_regression=0.04)
def test_stays_as_robust_in_l2():
    """It must keep what it has, and at least 0.8 whatever it had."""
