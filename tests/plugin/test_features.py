"""Bounds of each feature, and features that may not change, stated in marks and fixtures."""

import pytest

from pytest_aerobust import ContractError, robust


def accuracies(suite, result):
    found = suite.measured(result).items()
    return {name.split("[")[0]: run["unfiltered_accuracy_low"] for name, run in found}


def test_who_says_which_features_may_change(suite):
    """The fixture `aerobust_mutable`, another one by name, a mask or None in the mark.

    Where k of four features may change, a sample falls up to the distance k/4 eps.
    """
    suite.conftest("""
        @pytest.fixture(scope="session")
        def aerobust_mutable():
            return [True, True, False, False]

        @pytest.fixture(scope="session")
        def only_one():
            return [True, False, False, False]
    """)
    suite.tests("""
        import numpy as np

        @robust("bim", 0.31, min_acc=0.1)
        def test_fixture():
            pass

        @robust("bim", 0.31, min_acc=0.1, mutable="only_one")
        def test_named():
            pass

        @robust("bim", 0.31, min_acc=0.1, mutable=np.array([True, False, True, True]))
        def test_mask():
            pass

        @robust("bim", 0.31, min_acc=0.1, mutable=None)
        def test_none():
            pass
    """)
    result = suite.run("--aerobust-full")
    result.assert_outcomes(passed=4)
    expected = {"test_fixture": 0.6, "test_named": 0.8, "test_mask": 0.6, "test_none": 0.4}
    assert accuracies(suite, result) == expected


def test_who_says_the_bounds_of_each_feature(suite):
    """Arrays in the fixture or the mark: where two features have no room the others move alone."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_data():
            inputs, labels = samples()
            return torch.where(torch.tensor([True, True, False, False]), inputs, 0.5), labels

        @pytest.fixture
        def aerobust_bounds():
            return torch.tensor([[0, 0, 0.5, 0.5], [1, 1, 0.5, 0.5]])
    """)
    suite.tests("""
        @robust("bim", 0.2, min_acc=0.1)
        def test_fixture():
            pass

        @robust("bim", 0.2, min_acc=0.1, bounds=(0, [1, 1, 1, 1]))
        def test_mark():
            pass
    """)
    result = suite.run("--aerobust-full")
    result.assert_outcomes(passed=2)
    # Two features hold half of z: at eps 0.2 they carry 0.15 across, all four carry 0.35.
    assert accuracies(suite, result) == {"test_fixture": 0.6, "test_mark": 0.2}


def test_a_fixture_may_be_parametrized_by_masks(suite):
    """Each mask of a parametrized fixture is an item of its own."""
    suite.conftest("""
        @pytest.fixture(params=[[True] * 4, [True, False, False, False]], ids=["all", "one"])
        def aerobust_mutable(request):
            return request.param
    """)
    suite.tests("""
        @robust("bim", 0.2, min_acc=0.7)
        def test_it():
            pass
    """)
    suite.run().assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize("mutable", [[False] * 4, [0, 1], 1, "not a name"])
def test_senseless_masks_fail_at_collection(mutable):
    """What is no mask and no fixture's name is refused by the mark itself."""
    with pytest.raises(ContractError, match="mutable"):
        robust("bim", 0.1, min_acc=0.5, mutable=mutable)
