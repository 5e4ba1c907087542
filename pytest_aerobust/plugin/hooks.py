"""What pytest calls in a run with contracts: settings, the session, reports of tests.

The plugin registers this module with the first contract or the first option of ours.
"""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_aerobust.errors import AerobustError, BaselineError, ContractError
from pytest_aerobust.options.reading import read_settings
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.cases import session_of
from pytest_aerobust.plugin.commands import replay_command, rerun_command
from pytest_aerobust.plugin.inventory import Inventory
from pytest_aerobust.plugin.items import TOO_LATE, name_of_item, parameter
from pytest_aerobust.plugin.keys import OUTCOME, PROPERTIES, RECORDER, REPLAYER, SETTINGS
from pytest_aerobust.plugin.marks import CASE, checked_marks, contract_marks
from pytest_aerobust.plugin.recorder import Recorder

if TYPE_CHECKING:
    from pytest_aerobust.proving.outcome import Outcome
    from pytest_aerobust.proving.robustness import Robustness


def pytest_configure(config: pytest.Config) -> None:
    settings = config.stash[SETTINGS] = read_settings(config)
    if settings.enabled and not config.option.collectonly:
        _check_baseline(settings.baseline)
        _check_files(settings)
    if settings.replay is not None:
        from pytest_aerobust.plugin.replayer import Replayer

        config.stash[REPLAYER] = Replayer(config, settings.replay, settings.root, CASE)
        config.pluginmanager.register(config.stash[REPLAYER], "aerobust-replayer")
    inventory = Inventory(settings.root, CASE)
    config.pluginmanager.register(inventory, "aerobust-inventory")
    config.stash[RECORDER] = Recorder(config, settings, inventory)
    config.pluginmanager.register(config.stash[RECORDER], "aerobust-recorder")


def _check_baseline(path: Path) -> None:
    """A run that can't read it proves nothing, and must not write over it."""
    from pytest_aerobust.history.baseline.entries import read_baseline

    try:
        read_baseline(path)
    except BaselineError as error:
        raise pytest.UsageError(f"aerobust_baseline: {error}") from error


def _check_files(settings: Settings) -> None:
    """Now, and not after hours of attacks."""
    if settings.examples is None and not settings.reports:
        return
    from pytest_aerobust.reports.write import check_files

    try:
        check_files(settings)
    except ContractError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> str | None:
    settings = config.stash[SETTINGS]
    return f"aerobust: profile {settings.profile}" if settings.profile.name else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """What attacks are made of is read before anything runs: no test may change an entry."""
    settings = session.config.stash[SETTINGS]
    if not settings.enabled or session.config.option.collectonly:
        return
    contracts = [parameter(item).contract for item in session.items if checked_marks(item)]
    attacks = [contract.attack for contract in contracts if settings.compares(contract)]
    if attacks:
        session_of(session.config).read_code(attacks)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where another plugin runs a test again, nothing of its earlier run is told as of this one."""
    if OUTCOME in item.stash:
        told = item.stash[PROPERTIES]
        item.user_properties[:] = [each for each in item.user_properties if each not in told]
        del item.stash[OUTCOME]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """The body first, the check after it, both in the call phase."""
    result = yield
    if contract_marks(pyfuncitem) != checked_marks(pyfuncitem):
        pytest.fail(TOO_LATE, pytrace=False)
    if checked_marks(pyfuncitem) and pyfuncitem.config.stash[SETTINGS].replay is None:
        # A missing case is a KeyError on purpose: an unchecked contract must not pass.
        outcome = cast("Robustness", pyfuncitem.funcargs[CASE]).check()
        rerun = rerun_command(pyfuncitem)
        pyfuncitem.stash[OUTCOME] = _carried(pyfuncitem, outcome, rerun)
        told = pyfuncitem.stash[PROPERTIES] = outcome.properties()
        pyfuncitem.user_properties.extend(told)
        outcome.enforce(rerun, replay_command(pyfuncitem, outcome.examples))
        # Shown with -rP: what a pass rests on.
        pyfuncitem.add_report_section("call", "aerobust", outcome.words)
    return result


def _carried(item: pytest.Function, outcome: "Outcome", rerun: str) -> dict[str, Any]:
    from pytest_aerobust.reports.payload import carried

    return carried(outcome, parameter(item).contract, rerun)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo and call.excinfo.errisinstance(AerobustError) and report.longrepr:
        report.longrepr = _without_own_frames(call.excinfo, item.config)
    if contract_marks(item) and item.config.stash[SETTINGS].enabled:
        _tell(report, item)
    return report


def _tell(report: pytest.TestReport, item: pytest.Item) -> None:
    """Plain values only: the report crosses from xdist's workers to their controller."""
    report.aerobust_contract = name_of_item(item)  # type: ignore[attr-defined]
    if report.when == "call" and OUTCOME in item.stash:
        report.aerobust = item.stash[OUTCOME]  # type: ignore[attr-defined]
    if report.failed:
        from pytest_aerobust.plugin.crash import point_at_test

        point_at_test(report, item)


def _without_own_frames(excinfo: pytest.ExceptionInfo[Any], config: pytest.Config) -> Any:
    """An error of ours says what to do; beside it only frames of the user's code help."""
    if config.option.fulltrace:
        return excinfo.getrepr()
    machinery = {"pytest_aerobust", "_pytest", "pluggy"}

    def is_users(entry: Any) -> bool:
        return entry.frame.f_globals.get("__name__", "").split(".")[0] not in machinery

    return excinfo.getrepr(
        style="short", tbfilter=lambda info: info.traceback.filter(is_users).filter(info)
    )
