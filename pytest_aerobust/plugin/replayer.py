"""pytest with ``--aerobust-replay``: stored counterexamples judged again in place of contracts.

The fixtures build model and filter exactly as for the test; its body does not run, and nothing
is attacked. The exit status is 0 where every stored example still fools its pipeline, 1 where
some no longer do, and another where one could not be judged.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_aerobust.counterexamples.files import Saved, load_all
from pytest_aerobust.errors import ExamplesError
from pytest_aerobust.names import lasting_name, name_of

if TYPE_CHECKING:
    from pytest_aerobust.proving.robustness import Robustness

_TEXT, _STORED, _FOOLED = "aerobust_replay", "aerobust_stored", "aerobust_fooled"
_FINISHED = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


class Replayer:
    """Judges the stored examples of each collected test that has some; deselects the others.

    Args:
        config: The run's.
        path: A file, or a folder of them.
        root: Folder that tests are named from.
        case: The private fixture that gives a contract bound to its subject.

    Raises:
        pytest.UsageError: A file can't be read, or two are of one test.
    """

    def __init__(self, config: pytest.Config, path: Path, root: Path, case: str) -> None:
        self._config, self._root, self._case = config, root, case
        try:
            self._saved = load_all(path)
        except ExamplesError as error:
            raise pytest.UsageError(str(error)) from error
        self._found: dict[str, dict[str, Any]] = {}

    def saved(self, test: str) -> Saved:
        """The stored examples of a test, by its name."""
        return self._saved[test]

    def _name(self, item: pytest.Item) -> str:
        return lasting_name(item, self._root)

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        others = [item for item in items if self._name(item) not in self._saved]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if self._name(item) in self._saved]

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """In place of the body: whoever answers first ends the hook."""
        if self._case not in pyfuncitem.funcargs:
            pytest.fail("the test has no contract any more: nothing to judge", pytrace=False)
        case = cast("Robustness", pyfuncitem.funcargs[self._case])
        replayed = case.replay(self._saved[self._name(pyfuncitem)])
        told = {_TEXT: str(replayed), _STORED: replayed.stored, _FOOLED: replayed.fooled}
        pyfuncitem.user_properties.extend(told.items())
        if replayed.fooled < replayed.stored:
            left = replayed.stored - replayed.fooled
            pytest.fail(f"{left} of {replayed.stored} no longer fool the pipeline", pytrace=False)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = dict(report.user_properties)
        if report.when == "call" and _TEXT in told:
            self._found[name_of(report)] = cast("dict[str, Any]", told)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(self._config, "workerinput") or session.exitstatus not in _FINISHED:
            return
        if self._missing():
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        else:
            every = all(told[_FOOLED] == told[_STORED] for told in self._found.values())
            session.exitstatus = pytest.ExitCode.OK if every else pytest.ExitCode.TESTS_FAILED

    def _missing(self) -> list[str]:
        return sorted(self._saved.keys() - self._found.keys())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_sep("=", "replayed counterexamples")
        for _, told in sorted(self._found.items()):
            terminalreporter.write_line(told[_TEXT])
        for test in self._missing():
            terminalreporter.write_line(
                f"{test!r}: not judged; was the test renamed, skipped or broken? Its model can be "
                "named instead: python -m pytest_aerobust replay FILE --model package.module:name",
                red=True,
            )
        fooled, stored = (sum(t[name] for t in self._found.values()) for name in (_FOOLED, _STORED))
        terminalreporter.write_line(
            f"{fooled} of {stored} stored examples of {len(self._found)} contracts still fool "
            "their pipelines",
            bold=True,
        )
