"""From an item and its fixtures to a contract that can be measured."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_aerobust.plugin.items import name_of_item
from pytest_aerobust.plugin.keys import REPLAYER, SESSION, SETTINGS
from pytest_aerobust.plugin.marks import SEED
from pytest_aerobust.plugin.recorder import cache_of

if TYPE_CHECKING:
    from pytest_aerobust.plugin.session import Session
    from pytest_aerobust.proving.robustness import Robustness


def session_of(config: pytest.Config) -> "Session":
    """The session of a run; the first who asks loads torch."""
    if SESSION not in config.stash:
        from pytest_aerobust.plugin.session import Session
        from pytest_aerobust.reports.progress import watching

        config.stash[SESSION] = Session(
            config.stash[SETTINGS], watching(config), cache_of(config, config.stash[SETTINGS])
        )
    return config.stash[SESSION]


def bound_case(request: pytest.FixtureRequest) -> "Robustness":
    """The contract of an item, bound to what its fixtures give."""
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
