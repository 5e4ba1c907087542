"""The pytest plugin: hooks, options and fixtures, without logic of their own.

It knows settings, contracts and the session. The session, and with it torch and Foolbox, is
imported only once a contract runs.
"""

import os
import shlex
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from pytest_aerobust.contract import Contract, cases
from pytest_aerobust.errors import AerobustError, ContractError
from pytest_aerobust.settings import Settings, add_options, read_settings, selects_tests

if TYPE_CHECKING:
    from pytest_aerobust.judged import Judged
    from pytest_aerobust.replayer import Replayer
    from pytest_aerobust.robustness import Robustness
    from pytest_aerobust.session import Session

_CASE = "_aerobust_case"
_COLLECTED = "aerobust_collected"
_OFF = "a robustness contract: runs with --aerobust (or aerobust = true in the ini file)"
_UNCHECKED = (
    "@robust works on test functions and on methods of plain classes, but this is a {kind} (a "
    "method of a unittest.TestCase?), whose contract nobody would check; move it into a plain "
    "function"
)
_TOO_LATE = (
    "a mark robust came too late to be checked (by pytest.param(..., marks=), add_marker or "
    "applymarker): decorate the test function, its class or its module with robust(...)"
)
_NOTHING = (
    "aerobust: no robustness contract was collected, so nothing was proved. "
    "Mark tests with @robust(...), or run without --aerobust"
)

_settings: pytest.StashKey[Settings] = pytest.StashKey()
_session: "pytest.StashKey[Session]" = pytest.StashKey()
_recorder: "pytest.StashKey[Recorder]" = pytest.StashKey()
_replayer: "pytest.StashKey[Replayer]" = pytest.StashKey()
_judged: pytest.StashKey[dict[str, Any]] = pytest.StashKey()


class _Parameter(NamedTuple):
    contract: Contract
    marks: int


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode | None:
    """Print what --aerobust-attacks asks for in place of a run, as --fixtures and --markers do."""
    if not config.option.aerobust_attacks:
        return None
    import shutil

    from pytest_aerobust.reports.attacks import attack_table

    print(attack_table(shutil.get_terminal_size().columns))  # what was asked for
    return pytest.ExitCode.OK


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "robust(attack, eps, *, min_acc=..., ...): state how much attack the pipeline under test "
        "must withstand; import `robust` from pytest_aerobust",
    )
    settings = config.stash[_settings] = read_settings(config)
    if settings.enabled and not config.option.collectonly:
        _check_files(settings)
    if settings.replay is not None:
        from pytest_aerobust.replayer import Replayer

        config.stash[_replayer] = Replayer(config, settings.replay, _CASE)
        config.pluginmanager.register(config.stash[_replayer], "aerobust-replayer")
    config.stash[_recorder] = Recorder(config)
    config.pluginmanager.register(config.stash[_recorder], "aerobust-recorder")


def _check_files(settings: Settings) -> None:
    """Now, and not after hours of attacks."""
    if settings.examples is None and not settings.reports:
        return
    from pytest_aerobust.reports.files import check_files

    try:
        check_files(settings)
    except ContractError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = [*metafunc.definition.iter_markers("robust")]
    if not marks:
        return
    settings = metafunc.config.stash[_settings]
    try:
        # The nearest mark comes first; items read better in the order of the file.
        found = [case for mark in reversed(marks) for case in cases(*mark.args, **mark.kwargs)]
        contracts = [settings.settle(case.contract) for case in found]
    except ContractError as error:
        pytest.fail(f"{metafunc.definition.nodeid}: {error}", pytrace=False)
    _request_fixtures(metafunc, contracts)
    metafunc.fixturenames.append(_CASE)
    parameters = [
        pytest.param(_Parameter(contract, len(marks)), marks=case.marks, id=name)
        for contract, case, name in zip(
            contracts, found, _unique([case.id for case in found]), strict=True
        )
    ]
    metafunc.parametrize(_CASE, parameters, indirect=True)


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
    manager = metafunc.definition.session._fixturemanager
    waiting = [name for contract in contracts for name in _fixtures(contract)]
    while waiting:
        name = waiting.pop()
        definitions = manager.getfixturedefs(name, metafunc.definition)
        if definitions and name not in metafunc.fixturenames:
            metafunc.fixturenames.append(name)
            metafunc._arg2fixturedefs[name] = definitions
            waiting.extend(arg for each in definitions for arg in each.argnames)


def _fixtures(contract: Contract) -> list[str]:
    own = (contract.model, contract.data, contract.filter, contract.mutable)
    named = [name for name in own if isinstance(name, str)]
    return [*named, "aerobust_bounds", "aerobust_unfiltered_model"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if _marks(item)]
    for item in marked:
        if _checked_marks(item):
            # pytest has pruned the name again: no argument of the function asks for it.
            cast("pytest.Function", item).fixturenames.append(_CASE)
            _take_seed(cast("pytest.Function", item))
        if not config.stash[_settings].enabled:
            item.add_marker(pytest.mark.skip(reason=_OFF))
    config.stash[_recorder].collected = len(marked)


# Where Hypothesis keeps what its decorator `seed` was given, and where it waits for us.
_SEED, _TAKEN = "_hypothesis_internal_use_seed", "_aerobust_seed"


def _take_seed(item: pytest.Function) -> None:
    """Let `@hypothesis.seed` stand on a contract: without `@given` Hypothesis would refuse it."""
    function = getattr(item.obj, "__func__", item.obj)
    if hasattr(function, _SEED):
        setattr(function, _TAKEN, getattr(function, _SEED))
        if not getattr(function, "is_hypothesis_test", False):
            delattr(function, _SEED)


def _marks(item: pytest.Item) -> int:
    """How many contracts' marks an item has; a doctest only inherits those of its module."""
    if isinstance(item, pytest.DoctestItem):
        return 0
    return sum(1 for _ in item.iter_markers("robust"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """A mark that can't be checked is an error, never a silent pass."""
    if _marks(item) != _checked_marks(item):
        is_function = type(item) is pytest.Function
        words = _TOO_LATE if is_function else _UNCHECKED.format(kind=type(item).__name__)
        pytest.fail(words, pytrace=False)


def _checked_marks(item: pytest.Item) -> int:
    """How many marks there were when the item's contracts were read; 0 where nobody read any."""
    parameter = getattr(getattr(item, "callspec", None), "params", {}).get(_CASE)
    return parameter.marks if parameter else 0


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """The body first, the check after it, both in the call phase."""
    result = yield
    if _marks(pyfuncitem) != _checked_marks(pyfuncitem):
        pytest.fail(_TOO_LATE, pytrace=False)
    if _checked_marks(pyfuncitem) and pyfuncitem.config.stash[_settings].replay is None:
        # A missing case is a KeyError on purpose: an unchecked contract must not pass.
        judged = cast("Robustness", pyfuncitem.funcargs[_CASE]).check()
        rerun = _rerun(pyfuncitem)
        pyfuncitem.stash[_judged] = _carried(pyfuncitem, judged, rerun)
        pyfuncitem.user_properties.extend(judged.properties())
        judged.enforce(rerun, _replay(pyfuncitem, judged.examples))
        # Shown with -rP: what a pass rests on.
        pyfuncitem.add_report_section("call", "aerobust", judged.words)
    return result


def _carried(item: pytest.Function, judged: "Judged", rerun: str) -> dict[str, Any]:
    from pytest_aerobust.reports.carried import carried

    parameter = cast("_Parameter", item.callspec.params[_CASE])
    return carried(judged, parameter.contract, rerun)


def _rerun(item: pytest.Item) -> str:
    """The command for this test from the folder in which pytest was started."""
    _, _, rest = item.nodeid.partition("::")
    file = os.path.relpath(item.path, item.config.invocation_params.dir)
    return f"pytest {shlex.quote(f'{file}::{rest}')} {item.config.stash[_settings].flags}"


def _replay(item: pytest.Item, examples: Path | None) -> str | None:
    """The command for stored examples, likewise."""
    if examples is None:
        return None
    start = item.config.invocation_params.dir
    words = ["python", "-m", "pytest_aerobust", "replay", os.path.relpath(examples, start)]
    if start != item.config.rootpath:
        words.append(f"--rootdir={os.path.relpath(item.config.rootpath, start)}")
    return shlex.join(words)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo and call.excinfo.errisinstance(AerobustError) and report.longrepr:
        report.longrepr = _without_own_frames(call.excinfo, item.config)
    if _marks(item) and item.config.stash[_settings].enabled:
        _tell(report, item)
    return report


def _tell(report: pytest.TestReport, item: pytest.Item) -> None:
    """Plain values only: the report crosses from xdist's workers to their controller."""
    report.aerobust_contract = True  # type: ignore[attr-defined]
    if report.when == "call" and _judged in item.stash:
        report.aerobust = item.stash[_judged]  # type: ignore[attr-defined]
    if report.failed:
        from pytest_aerobust.reports.crash import point_at_test

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


# An interrupted or broken run has its own words; only a sound one may have proved nothing.
_NOT_BROKEN = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


_PHASES = ("setup", "call", "teardown")
# Plugins that run a failing test again call its first reports something else.
_FINAL = ("passed", "failed", "skipped")


class Recorder:
    """Gathers results where they arrive: in the process that the user sees."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reports: list[pytest.TestReport] = []
        self._incidents: list[pytest.CollectReport | pytest.TestReport] = []
        self._written: list[tuple[str, bool]] = []
        self._nothing = False
        self.collected = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome not in _FINAL:
            return
        if hasattr(report, "aerobust"):
            self._reports.append(report)
            self._add_extras(report)
        # Of a process that died nobody knows what its test was.
        elif hasattr(report, "aerobust_contract") or report.when not in _PHASES:
            self._note_incident(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._note_incident(report)

    def _note_incident(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if not report.passed:
            self._incidents.append(report)

    def _add_extras(self, report: pytest.TestReport) -> None:
        """For pytest-html, whose hook comes later."""
        if self._config.getoption("htmlpath", None):
            from pytest_aerobust.reports.extras import add_extras

            add_extras(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """An xdist worker is done: only workers collect."""
        output = getattr(node, "workeroutput", {})
        self.collected = max(self.collected, output.get(_COLLECTED, 0))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_COLLECTED] = self.collected
        elif session.exitstatus in _NOT_BROKEN and self._proves_nothing():
            self._nothing = True
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if output is None:
            self._write_reports(self._config.stash[_settings])

    def _write_reports(self, settings: Settings) -> None:
        wanted = settings.reports or settings.job_page
        if wanted and settings.enabled and not self._config.option.collectonly:
            from pytest_aerobust.reports.files import write_reports
            from pytest_aerobust.reports.run import run_of

            told = (settings, self._reports, self._incidents, self.collected)
            self._written = list(write_reports(settings, partial(run_of, *told)))

    def _proves_nothing(self) -> bool:
        """Whether contracts were asked for, and the whole suite holds none."""
        return (
            self._config.stash[_settings].enabled
            and not self.collected
            and not self._config.option.collectonly
            and not selects_tests(self._config)
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._config.option.no_summary:
            return
        if self._nothing:
            terminalreporter.write_line(_NOTHING, red=True, bold=True)
        if self._reports:
            from pytest_aerobust.reports.terminal import summarise

            summarise(terminalreporter, self._reports)
        for line, whole in self._written:
            terminalreporter.write_line(line, red=not whole)


@pytest.fixture
def _aerobust_case(request: pytest.FixtureRequest) -> "Robustness":
    from pytest_aerobust.session import Parts, Session

    config, contract = request.config, request.param.contract
    if _session not in config.stash:
        from pytest_aerobust.reports.progress import watching

        config.stash[_session] = Session(config.stash[_settings], watching(config))
    saved = None
    if _replayer in config.stash:
        saved = config.stash[_replayer].saved(request.node.nodeid)
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
    seed = getattr(request.node.obj, _TAKEN, None)
    return config.stash[_session].guard(contract, parts, request.node.nodeid, seed)


@pytest.fixture
def robustness(request: pytest.FixtureRequest) -> "Robustness":
    """The contract's evaluation on request: `robustness()` measures in full, once.

    Where budgets vary, `robustness(eps)` measures one of them, and `robustness()` the largest.
    """
    if not _checked_marks(request.node):
        pytest.fail(
            "the fixture robustness needs a contract: mark the test with "
            "@robust(attack=..., eps=..., min_acc=...)",
            pytrace=False,
        )
    return cast("Robustness", request.getfixturevalue(_CASE))


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
