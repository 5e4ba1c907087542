"""What a user overrides, and what a test may ask for."""

from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_aerobust.plugin.marks import CASE, checked_marks

if TYPE_CHECKING:
    from pytest_aerobust.proving.robustness import Robustness


@pytest.fixture
def _aerobust_case(request: pytest.FixtureRequest) -> "Robustness":
    from pytest_aerobust.plugin.cases import bound_case

    return bound_case(request)


@pytest.fixture
def robustness(request: pytest.FixtureRequest) -> "Robustness":
    """The contract's evaluation on request: `robustness()` measures in full, once.

    Where budgets vary, `robustness(eps)` measures one of them, and `robustness()` the largest.
    """
    if not checked_marks(request.node):
        pytest.fail(
            "the fixture robustness needs a contract: mark the test with "
            "@robust(attack=..., eps=..., min_acc=...)",
            pytrace=False,
        )
    return cast("Robustness", request.getfixturevalue(CASE))


@pytest.fixture(scope="session")
def aerobust_model() -> Any:
    """The classifier under test; override it."""
    pytest.fail(_paste("aerobust_model", "load_my_classifier()"), pytrace=False)


@pytest.fixture(scope="session")
def aerobust_data() -> Any:
    """Inputs and labels; override it."""
    pytest.fail(_paste("aerobust_data", "inputs, labels"), pytrace=False)


def _paste(name: str, value: str) -> str:
    return (
        f"the fixture {name} is not defined. Paste this into conftest.py and fill it in:\n\n"
        f'    @pytest.fixture(scope="session")\n    def {name}():\n        return {value}\n'
    )


@pytest.fixture(scope="session")
def aerobust_filter() -> Any:
    """What stands in front of the classifier; nothing, unless overridden."""
    return None


@pytest.fixture(scope="session")
def aerobust_unfiltered_model() -> Any:
    """A model of its own for the arm without the filter; `aerobust_model`, unless overridden."""
    return None


@pytest.fixture(scope="session")
def aerobust_bounds() -> Any:
    """Smallest and largest value of an input, or of each feature; (0, 1), unless overridden."""
    return (0.0, 1.0)


@pytest.fixture(scope="session")
def aerobust_mutable() -> Any:
    """Which features an attacker may change, an array of booleans; all, unless overridden."""
    return None
