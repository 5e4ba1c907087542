"""From marks to items: a contract each, checked while they are collected."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import pytest

from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.errors import ContractError
from pytest_aerobust.names import lasting_name
from pytest_aerobust.plugin.keys import RECORDER, SETTINGS
from pytest_aerobust.plugin.marks import CASE, SEED, checked_marks, contract_marks
from pytest_aerobust.plugin.strays import stray_conftest
from pytest_aerobust.private import fixture_definitions, request_fixture, taken_seed

_OFF = "a robustness contract: runs with --aerobust (or aerobust = true in the ini file)"
_UNCHECKED = (
    "@robust works on test functions and on methods of plain classes, but this is a {kind} (a "
    "method of a unittest.TestCase?), whose contract nobody would check; move it into a plain "
    "function"
)
TOO_LATE = (
    "a mark robust came too late to be checked (by pytest.param(..., marks=), add_marker or "
    "applymarker): decorate the test function, its class or its module with robust(...)"
)

_STRAY = (
    "{test}: pytest takes its fixture {name} from {file}, the conftest of another folder, because "
    "this run has tests outside its rootdir. Run the folders one by one, or with --rootdir=FOLDER, "
    "one that holds them all"
)


class Parameter(NamedTuple):
    contract: Contract
    marks: int


def make_items(metafunc: pytest.Metafunc) -> None:
    """One item for each case that the marks of a test state."""
    marks = [*metafunc.definition.iter_markers("robust")]
    settings = metafunc.config.stash[SETTINGS]
    try:
        # The nearest mark comes first; items read better in the order of the file.
        found = [case for mark in reversed(marks) for case in cases(*mark.args, **mark.kwargs)]
        contracts = [settings.settle(case.contract) for case in found]
    except ContractError as error:
        pytest.fail(f"{metafunc.definition.nodeid}: {error}", pytrace=False)
    _request_fixtures(metafunc, contracts)
    metafunc.fixturenames.append(CASE)
    parameters = [
        pytest.param(Parameter(contract, len(marks)), marks=case.marks, id=name)
        for contract, case, name in zip(
            contracts, found, _unique([case.id for case in found]), strict=True
        )
    ]
    metafunc.parametrize(CASE, parameters, indirect=True)


def _unique(ids: list[str]) -> list[str]:
    """Ids told apart by a number, where contracts differ in nothing that an id shows."""
    return [
        name if ids.count(name) == 1 else f"{name}-{ids[:place].count(name) + 1}"
        for place, name in enumerate(ids)
    ]


def _request_fixtures(metafunc: pytest.Metafunc, contracts: list[Contract]) -> None:
    """Let the test be multiplied by whatever the fixtures of its contracts are parametrized by.

    They are requested while the test runs; to be parametrized, by their own `params` or by a
    mark of the test, pytest must know them while it collects.
    """
    waiting = [name for contract in contracts for name in _fixtures(contract)]
    while waiting:
        name = waiting.pop()
        definitions = fixture_definitions(metafunc.definition, name)
        _refuse_stray(metafunc.definition, name, definitions)
        if definitions and name not in metafunc.fixturenames:
            request_fixture(metafunc, name, definitions)
            waiting.extend(arg for each in definitions for arg in each.argnames)


def _refuse_stray(node: pytest.Item, name: str, definitions: Sequence[Any]) -> None:
    """Else the contract would be judged on what another folder has under test."""
    if not definitions or not node.config.stash[SETTINGS].enabled:
        return
    file = stray_conftest(definitions[-1], node)
    if file is not None:
        pytest.fail(_STRAY.format(test=node.nodeid, name=name, file=file), pytrace=False)


def _fixtures(contract: Contract) -> list[str]:
    own = (contract.model, contract.data, contract.filter, contract.mutable)
    named = [name for name in own if isinstance(name, str)]
    return [*named, "aerobust_bounds", "aerobust_unfiltered_model"]


def prepare_items(config: pytest.Config, marked: list[pytest.Item]) -> None:
    """Make the items that carry marks ready for their contracts, or skip them."""
    for item in marked:
        if checked_marks(item):
            # pytest has pruned the name again: no argument of the function asks for it.
            cast("pytest.Function", item).fixturenames.append(CASE)
            _take_seed(cast("pytest.Function", item))
        if not config.stash[SETTINGS].enabled:
            item.add_marker(pytest.mark.skip(reason=_OFF))
    config.stash[RECORDER].collected.update(map(name_of_item, marked))


def name_of_item(item: pytest.Item) -> str:
    return lasting_name(item, item.config.stash[SETTINGS].root)


def _take_seed(item: pytest.Function) -> None:
    """Let `@hypothesis.seed` stand on a contract."""
    function = getattr(item.obj, "__func__", item.obj)
    seed = taken_seed(function)
    if seed is not None:
        setattr(function, SEED, seed)


def check_marks(item: pytest.Item) -> None:
    """A mark that can't be checked is an error, never a silent pass."""
    if contract_marks(item) != checked_marks(item):
        is_function = type(item) is pytest.Function
        words = TOO_LATE if is_function else _UNCHECKED.format(kind=type(item).__name__)
        pytest.fail(words, pytrace=False)


def parameter(item: pytest.Item) -> Parameter:
    """The case of an item whose marks are checked."""
    return cast("Parameter", cast("pytest.Function", item).callspec.params[CASE])
