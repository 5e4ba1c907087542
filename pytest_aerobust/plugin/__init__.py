"""The pytest plugin, as pytest finds it by its entry point: what every run of pytest pays for.

These are the options, the fixtures, and hooks that look for a contract. All else is loaded and
registered with the first contract that is collected, or with the first option of ours; torch and
Foolbox with the first contract that runs.
"""

from collections.abc import Generator
from typing import Any

import pytest

from pytest_aerobust.options.command_line import add_options
from pytest_aerobust.plugin.fixtures import (
    _aerobust_case,
    aerobust_bounds,
    aerobust_data,
    aerobust_filter,
    aerobust_model,
    aerobust_mutable,
    aerobust_unfiltered_model,
    robustness,
)
from pytest_aerobust.plugin.marks import contract_marks

__all__ = [
    "_aerobust_case",
    "aerobust_bounds",
    "aerobust_data",
    "aerobust_filter",
    "aerobust_model",
    "aerobust_mutable",
    "aerobust_unfiltered_model",
    "robustness",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode | None:
    """Print what --aerobust-attacks asks for in place of a run, as --fixtures and --markers do."""
    if not config.option.aerobust_attacks:
        return None
    import shutil

    from pytest_aerobust.reports.attack_table import attack_table

    print(attack_table(shutil.get_terminal_size().columns))  # what was asked for
    return pytest.ExitCode.OK


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "robust(attack, eps, *, min_acc=..., ...): state how much attack the pipeline under test "
        "must withstand; import `robust` from pytest_aerobust",
    )
    given = (value for name, value in vars(config.option).items() if name.startswith("aerobust"))
    if config.getini("aerobust") or any(value not in (None, False) for value in given):
        _load(config)


def _load(config: pytest.Config) -> None:
    """Register the rest of the plugin, once a run; it is configured at once."""
    import pytest_aerobust.plugin.hooks as hooks

    if not config.pluginmanager.is_registered(hooks):
        config.pluginmanager.register(hooks, "aerobust")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if any(metafunc.definition.iter_markers("robust")):
        from pytest_aerobust.plugin.items import make_items

        _load(metafunc.config)
        make_items(metafunc)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if contract_marks(item)]
    if marked:
        from pytest_aerobust.plugin.items import prepare_items

        _load(config)
        prepare_items(config, marked)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A mark that came too late to be checked is an error, also one that the body made."""
    _check_marks(item)
    result = yield
    _check_marks(item)
    return result


def _check_marks(item: pytest.Item) -> None:
    if contract_marks(item):
        from pytest_aerobust.plugin.items import check_marks

        check_marks(item)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    try:
        return (yield)
    except Exception as error:
        from pytest_aerobust.plugin.shadowed import explain

        explain(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    call = getattr(report, "call", None)
    _explain(report, call and call.excinfo)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _explain(report, call.excinfo)
    return report


def _explain(
    report: pytest.CollectReport | pytest.TestReport,
    excinfo: pytest.ExceptionInfo[BaseException] | None,
) -> None:
    """Say what happened where a module of the user's has the name of one of ours."""
    if not report.failed or not excinfo:
        return
    from pytest_aerobust.plugin.shadowed import explanation

    if words := explanation(excinfo.value):
        report.sections.append(("aerobust", words))
