"""What a user overrides, and what a test may ask for."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_aerobust.plugin.items import SEED, checked_marks, name_of_item
from pytest_aerobust.plugin.keys import (
    CASE,
    REPLAYER,
    SESSION,
    SETTINGS,
)
from pytest_aerobust.plugin.recorder import cache_of

if TYPE_CHECKING:
    from pytest_aerobust.plugin.session import Session
    from pytest_aerobust.proving.robustness import Robustness


def session_of(config: pytest.Config) -> "Session":
    if SESSION not in config.stash:
        from pytest_aerobust.plugin.session import Session
        from pytest_aerobust.reports.progress import watching

        config.stash[SESSION] = Session(
            config.stash[SETTINGS], watching(config), cache_of(config, config.stash[SETTINGS])
        )
    return config.stash[SESSION]


@pytest.fixture
def _aerobust_case(request: pytest.FixtureRequest) -> "Robustness":
    from pytest_aerobust.measurement.binding import Parts

    config, contract = request.config, request.param.contract
    saved = None
    if REPLAYER in config.stash:
        saved = config.stash[REPLAYER].saved(name_of_item(request.node))
        contract = replace(contract, bounds=saved.note.bounds, mutable=saved.note.mutable)
    mutable = contract.mutable
    parts = Parts(
        model=request.getfixturevalue(contract.model),
        data=saved.data if saved else request.getfixturevalue(contract.data),
        filter=contract.filter and request.getfixturevalue(contract.filter),
        bounds=contract.bounds or request.getfixturevalue("aerobust_bounds"),
        mutable=request.getfixturevalue(mutable) if isinstance(mutable, str) else mutable,
        unfiltered_model=request.getfixturevalue("aerobust_unfiltered_model"),
    )
    seed = getattr(request.node.obj, SEED, None)
    return session_of(config).guard(contract, parts, name_of_item(request.node), seed)


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
