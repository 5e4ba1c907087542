"""The pytest plugin: hooks, options and fixtures, without logic of their own.

It knows settings, contracts and the session. The session, and with it torch and Foolbox, is
imported only once a contract runs.
"""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_aerobust.contract import Contract, cases
from pytest_aerobust.errors import AerobustError, ContractError
from pytest_aerobust.reports.terminal import summarise
from pytest_aerobust.settings import Settings, add_options, read_settings, selects_tests

if TYPE_CHECKING:
    from pytest_aerobust.session import Robustness, Session

_CASE = "_aerobust_case"
_COLLECTED = "aerobust_collected"
_OFF = "a robustness contract: runs with --aerobust (or aerobust = true in the ini file)"
_NOTHING = (
    "aerobust: no robustness contract was collected, so nothing was proved. "
    "Mark tests with @robust(...), or run without --aerobust"
)

_settings: pytest.StashKey[Settings] = pytest.StashKey()
_session: "pytest.StashKey[Session]" = pytest.StashKey()
_recorder: "pytest.StashKey[Recorder]" = pytest.StashKey()
_judged: pytest.StashKey[dict[str, Any]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "robust(attack, eps, *, min_acc=..., ...): state how much attack the pipeline under test "
        "must withstand; import `robust` from pytest_aerobust",
    )
    config.stash[_settings] = read_settings(config)
    config.stash[_recorder] = Recorder(config)
    config.pluginmanager.register(config.stash[_recorder], "aerobust-recorder")


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
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {error}") from error
    _parametrize_by_fixtures(metafunc, contracts)
    metafunc.fixturenames.append(_CASE)
    parameters = [
        pytest.param(contract, marks=case.marks, id=name)
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


def _parametrize_by_fixtures(metafunc: pytest.Metafunc, contracts: list[Contract]) -> None:
    """Give the test the parameters of the fixtures that its contracts name.

    The fixtures are requested while the test runs, where pytest no longer multiplies tests by
    a fixture's own `params`.
    """
    manager = metafunc.definition.session._fixturemanager
    for name in dict.fromkeys(name for contract in contracts for name in _fixtures(contract)):
        definitions = manager.getfixturedefs(name, metafunc.definition) or ()
        params = definitions[-1].params if definitions else None
        if params is not None and name not in metafunc.fixturenames:
            metafunc.fixturenames.append(name)
            metafunc.parametrize(
                name, params, indirect=True, scope=definitions[-1].scope, ids=definitions[-1].ids
            )


def _fixtures(contract: Contract) -> list[str]:
    return [name for name in (contract.model, contract.data, contract.filter) if name]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("robust")]
    for item in marked:
        if not _carries_contract(item):
            raise pytest.UsageError(
                f"{item.nodeid}: @robust works on test functions and on methods of plain classes, "
                f"but this is a {type(item).__name__} (of a unittest.TestCase?), which would pass "
                "unchecked; move it into a plain function"
            )
        # pytest has pruned the name again: no argument of the function asks for it.
        cast("pytest.Function", item).fixturenames.append(_CASE)
    config.stash[_recorder].collected = len(marked)
    if not config.stash[_settings].enabled:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=_OFF))


def _carries_contract(item: pytest.Item) -> bool:
    return _CASE in getattr(getattr(item, "callspec", None), "params", {})


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """The body first, the check after it, both in the call phase."""
    result = yield
    if _carries_contract(pyfuncitem):
        # A missing case is a KeyError on purpose: an unchecked contract must not pass.
        judged = cast("Robustness", pyfuncitem.funcargs[_CASE]).check()
        pyfuncitem.stash[_judged] = judged.to_dict()
        pyfuncitem.user_properties.extend(judged.properties())
        judged.enforce(pyfuncitem.nodeid)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo and call.excinfo.errisinstance(AerobustError) and report.longrepr:
        report.longrepr = _without_own_frames(call.excinfo, item.config)
    if report.when == "call" and _judged in item.stash:
        # Plain values only: the report crosses from xdist's workers to their controller.
        report.aerobust = item.stash[_judged]  # type: ignore[attr-defined]
    return report


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


class Recorder:
    """Gathers results where they arrive: in the process that the user sees."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reports: list[pytest.TestReport] = []
        self.collected = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "aerobust"):
            self._reports.append(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """An xdist worker is done: only workers collect."""
        output = getattr(node, "workeroutput", {})
        self.collected = max(self.collected, output.get(_COLLECTED, 0))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_COLLECTED] = self.collected
        elif self.proved_nothing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @property
    def proved_nothing(self) -> bool:
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
        if self.proved_nothing:
            terminalreporter.write_line(_NOTHING, red=True, bold=True)
        summarise(terminalreporter, self._reports)


@pytest.fixture
def _aerobust_case(request: pytest.FixtureRequest) -> "Robustness":
    from pytest_aerobust.session import Parts, Session

    config, contract = request.config, request.param
    if _session not in config.stash:
        config.stash[_session] = Session(config.stash[_settings])
    parts = Parts(
        model=request.getfixturevalue(contract.model),
        data=request.getfixturevalue(contract.data),
        filter=contract.filter and request.getfixturevalue(contract.filter),
        bounds=contract.bounds or request.getfixturevalue("aerobust_bounds"),
        unfiltered_model=request.getfixturevalue("aerobust_unfiltered_model"),
    )
    return config.stash[_session].guard(contract, parts, request.node.nodeid)


@pytest.fixture
def robustness(request: pytest.FixtureRequest) -> "Robustness":
    """The contract's evaluation on request: `robustness()` measures in full, once.

    Where budgets vary, `robustness(eps)` measures one of them, and `robustness()` the largest.
    """
    if not _carries_contract(request.node):
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
def aerobust_bounds() -> tuple[float, float]:
    """Smallest and largest value of an input; (0, 1), unless overridden."""
    return (0.0, 1.0)
