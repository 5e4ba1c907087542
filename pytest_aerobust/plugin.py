"""The pytest plugin: hooks, options and fixtures, without logic of their own.

It knows settings, contracts and the session. The session, and with it torch and Foolbox, is
imported only once a contract runs.
"""

import os
import shlex
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.contract.mark import cases
from pytest_aerobust.errors import AerobustError, BaselineError, ContractError
from pytest_aerobust.inventory import Inventory, contract_marks
from pytest_aerobust.names import home, ini_of, lasting_name
from pytest_aerobust.options.command_line import add_options
from pytest_aerobust.options.reading import read_settings
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.recorder import Recorder, cache_of
from pytest_aerobust.shadowed import explain, explanation
from pytest_aerobust.strays import stray_conftest

if TYPE_CHECKING:
    from pytest_aerobust.judged import Judged
    from pytest_aerobust.replayer import Replayer
    from pytest_aerobust.robustness import Robustness
    from pytest_aerobust.session import Session

_CASE = "_aerobust_case"
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

_STRAY = (
    "{test}: pytest takes its fixture {name} from {file}, the conftest of another folder, because "
    "this run has tests outside its rootdir. Run the folders one by one, or with --rootdir=FOLDER, "
    "one that holds them all"
)

_settings: pytest.StashKey[Settings] = pytest.StashKey()
_session: "pytest.StashKey[Session]" = pytest.StashKey()
_recorder: pytest.StashKey[Recorder] = pytest.StashKey()
_replayer: "pytest.StashKey[Replayer]" = pytest.StashKey()
_judged: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
_properties: pytest.StashKey[list[tuple[str, Any]]] = pytest.StashKey()


class _Parameter(NamedTuple):
    contract: Contract
    marks: int


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    try:
        return (yield)
    except Exception as error:
        explain(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    call = getattr(report, "call", None)
    _explain(report, call and call.excinfo)
    return report


def _explain(
    report: pytest.CollectReport | pytest.TestReport,
    excinfo: pytest.ExceptionInfo[BaseException] | None,
) -> None:
    words = explanation(excinfo.value) if report.failed and excinfo else None
    if words:
        report.sections.append(("aerobust", words))


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
        _check_baseline(settings.baseline)
        _check_files(settings)
    if settings.replay is not None:
        from pytest_aerobust.replayer import Replayer

        config.stash[_replayer] = Replayer(config, settings.replay, settings.root, _CASE)
        config.pluginmanager.register(config.stash[_replayer], "aerobust-replayer")
    inventory = Inventory(settings.root, _CASE)
    config.pluginmanager.register(inventory, "aerobust-inventory")
    config.stash[_recorder] = Recorder(config, settings, inventory)
    config.pluginmanager.register(config.stash[_recorder], "aerobust-recorder")


def _check_baseline(path: Path) -> None:
    """A run that can't read it proves nothing, and must not write over it."""
    from pytest_aerobust.history.baseline import read_baseline

    try:
        read_baseline(path)
    except BaselineError as error:
        raise pytest.UsageError(f"aerobust_baseline: {error}") from error


def _check_files(settings: Settings) -> None:
    """Now, and not after hours of attacks."""
    if settings.examples is None and not settings.reports:
        return
    from pytest_aerobust.reports.files import check_files

    try:
        check_files(settings)
    except ContractError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> str | None:
    settings = config.stash[_settings]
    return f"aerobust: profile {settings.profile}" if settings.profile.name else None


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
        _refuse_stray(metafunc.definition, name, definitions)
        if definitions and name not in metafunc.fixturenames:
            metafunc.fixturenames.append(name)
            metafunc._arg2fixturedefs[name] = definitions
            waiting.extend(arg for each in definitions for arg in each.argnames)


def _refuse_stray(node: pytest.Item, name: str, definitions: Sequence[Any] | None) -> None:
    """Else the contract would be judged on what another folder has under test."""
    if not definitions or not node.config.stash[_settings].enabled:
        return
    file = stray_conftest(definitions[-1], node)
    if file is not None:
        pytest.fail(_STRAY.format(test=node.nodeid, name=name, file=file), pytrace=False)


def _fixtures(contract: Contract) -> list[str]:
    own = (contract.model, contract.data, contract.filter, contract.mutable)
    named = [name for name in own if isinstance(name, str)]
    return [*named, "aerobust_bounds", "aerobust_unfiltered_model"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if contract_marks(item)]
    for item in marked:
        if _checked_marks(item):
            # pytest has pruned the name again: no argument of the function asks for it.
            cast("pytest.Function", item).fixturenames.append(_CASE)
            _take_seed(cast("pytest.Function", item))
        if not config.stash[_settings].enabled:
            item.add_marker(pytest.mark.skip(reason=_OFF))
    config.stash[_recorder].collected.update(map(_name, marked))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What attacks are made of is read before anything runs: no test may change an entry."""
    settings = session.config.stash[_settings]
    if not settings.enabled or session.config.option.collectonly:
        return
    contracts = [_parameter(item).contract for item in session.items if _checked_marks(item)]
    attacks = [contract.attack for contract in contracts if settings.compares(contract)]
    if attacks:
        _session_of(session.config).read_code(attacks)


def _name(item: pytest.Item) -> str:
    return lasting_name(item, item.config.stash[_settings].root)


# Where Hypothesis keeps what its decorator `seed` was given, and where it waits for us.
_SEED, _TAKEN = "_hypothesis_internal_use_seed", "_aerobust_seed"


def _take_seed(item: pytest.Function) -> None:
    """Let `@hypothesis.seed` stand on a contract: without `@given` Hypothesis would refuse it."""
    function = getattr(item.obj, "__func__", item.obj)
    if hasattr(function, _SEED):
        setattr(function, _TAKEN, getattr(function, _SEED))
        if not getattr(function, "is_hypothesis_test", False):
            delattr(function, _SEED)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where another plugin runs a test again, nothing of its earlier run is told as of this one."""
    if _judged in item.stash:
        told = item.stash[_properties]
        item.user_properties[:] = [each for each in item.user_properties if each not in told]
        del item.stash[_judged]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """A mark that can't be checked is an error, never a silent pass."""
    if contract_marks(item) != _checked_marks(item):
        is_function = type(item) is pytest.Function
        words = _TOO_LATE if is_function else _UNCHECKED.format(kind=type(item).__name__)
        pytest.fail(words, pytrace=False)


def _checked_marks(item: pytest.Item) -> int:
    """How many marks there were when the item's contracts were read; 0 where nobody read any."""
    parameter = getattr(getattr(item, "callspec", None), "params", {}).get(_CASE)
    return parameter.marks if parameter else 0


def _parameter(item: pytest.Item) -> _Parameter:
    """The case of an item whose marks are checked."""
    return cast("_Parameter", cast("pytest.Function", item).callspec.params[_CASE])


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """The body first, the check after it, both in the call phase."""
    result = yield
    if contract_marks(pyfuncitem) != _checked_marks(pyfuncitem):
        pytest.fail(_TOO_LATE, pytrace=False)
    if _checked_marks(pyfuncitem) and pyfuncitem.config.stash[_settings].replay is None:
        # A missing case is a KeyError on purpose: an unchecked contract must not pass.
        judged = cast("Robustness", pyfuncitem.funcargs[_CASE]).check()
        rerun = _rerun(pyfuncitem)
        pyfuncitem.stash[_judged] = _carried(pyfuncitem, judged, rerun)
        told = pyfuncitem.stash[_properties] = judged.properties()
        pyfuncitem.user_properties.extend(told)
        judged.enforce(rerun, _replay(pyfuncitem, judged.examples))
        # Shown with -rP: what a pass rests on.
        pyfuncitem.add_report_section("call", "aerobust", judged.words)
    return result


def _carried(item: pytest.Function, judged: "Judged", rerun: str) -> dict[str, Any]:
    from pytest_aerobust.reports.carried import carried

    return carried(judged, _parameter(item).contract, rerun)


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
    return shlex.join([*words, *_roots(item)])


def _roots(item: pytest.Item) -> list[str]:
    """What leads a replay to the ini file and root folder of this run; mostly nothing."""
    config, start = item.config, item.config.invocation_params.dir
    rootdir, ini, words = config.rootpath, ini_of(config), []
    # A replay runs no test from outside of its root folder and the one that it is started in.
    if ini and not any(item.path.is_relative_to(folder) for folder in (rootdir, start)):
        rootdir = Path(os.path.commonpath([rootdir, item.path]))
    usual = start
    if config.getoption("inifilename") or rootdir != home(ini, rootdir):
        words += ["-c", os.path.relpath(ini, start) if ini else os.devnull]
        usual = home(ini, start)
    return words if rootdir == usual else [*words, f"--rootdir={os.path.relpath(rootdir, start)}"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _explain(report, call.excinfo)
    if call.excinfo and call.excinfo.errisinstance(AerobustError) and report.longrepr:
        report.longrepr = _without_own_frames(call.excinfo, item.config)
    if contract_marks(item) and item.config.stash[_settings].enabled:
        _tell(report, item)
    return report


def _tell(report: pytest.TestReport, item: pytest.Item) -> None:
    """Plain values only: the report crosses from xdist's workers to their controller."""
    report.aerobust_contract = _name(item)  # type: ignore[attr-defined]
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


def _session_of(config: pytest.Config) -> "Session":
    if _session not in config.stash:
        from pytest_aerobust.reports.progress import watching
        from pytest_aerobust.session import Session

        config.stash[_session] = Session(
            config.stash[_settings], watching(config), cache_of(config, config.stash[_settings])
        )
    return config.stash[_session]


@pytest.fixture
def _aerobust_case(request: pytest.FixtureRequest) -> "Robustness":
    from pytest_aerobust.session import Parts

    config, contract = request.config, request.param.contract
    saved = None
    if _replayer in config.stash:
        saved = config.stash[_replayer].saved(_name(request.node))
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
    return _session_of(config).guard(contract, parts, _name(request.node), seed)


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
