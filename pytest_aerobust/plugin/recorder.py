"""What one run gathers and leaves behind: the section, the baseline, the files about it."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_aerobust.names import name_of
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.plugin.inventory import Inventory
from pytest_aerobust.plugin.selection import options_of_conftests, selects_tests, whole_places

if TYPE_CHECKING:
    from pytest_aerobust.history.baseline.upkeep import Line
    from pytest_aerobust.history.cache.store import Cache

_COLLECTED = "aerobust_collected"
_NOTHING = (
    "aerobust: no robustness contract was collected, so nothing was proved. "
    "Mark tests with @robust(...), or run without --aerobust"
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
    """Gathers results where they arrive: in the process that the user sees.

    Args:
        config: Of this process.
        settings: The options.
        inventory: What this process sees of the suite.
    """

    def __init__(self, config: pytest.Config, settings: Settings, inventory: Inventory) -> None:
        self._config, self._settings = config, settings
        self._reports: dict[str, pytest.TestReport] = {}
        self._incidents: list[pytest.CollectReport | pytest.TestReport] = []
        self._told: list[Line] = []
        self._written: list[tuple[str, bool]] = []
        self._nothing = self._crashed = False
        self._inventory = inventory
        self.collected: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = name_of(report)
        if report.outcome not in _FINAL:
            # The last run of a test counts, however far an earlier one got.
            self._reports.pop(name, None)
            return
        if hasattr(report, "aerobust"):
            self._reports[name] = report
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
            from pytest_aerobust.reports.pytest_html import add_extras

            add_extras(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """An xdist worker is done: only workers collect."""
        output = getattr(node, "workeroutput", {})
        if _COLLECTED not in output:
            self._crashed = True
            return
        tests, seen = output[_COLLECTED]
        self.collected.update(tests)
        self._inventory.add(seen)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_COLLECTED] = (sorted(self.collected), self._inventory.plain())
        elif session.exitstatus in _NOT_BROKEN and self._proves_nothing():
            self._nothing = True
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if output is None and self._enabled:
            self._keep(session)
            self._write_reports()

    @property
    def _enabled(self) -> bool:
        return self._settings.enabled and not self._config.option.collectonly

    def _keep(self, session: pytest.Session) -> None:
        from pytest_aerobust.history.baseline.upkeep import Collected, keep_baseline

        tests, read, withheld, varied = map(frozenset, self._inventory.plain())
        places, obstacle = self._places(session)
        collected = tests | self.collected | {*self._reports}
        seen = Collected(collected, read, withheld, varied, places, obstacle)
        self._told = keep_baseline(
            self._settings,
            [(test, cast("Any", report).aerobust) for test, report in self._reports.items()],
            seen,
        )
        if (cache := cache_of(self._config, self._settings)) is not None:
            cache.trim()
        if any(told.wrong for told in self._told) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _places(self, session: pytest.Session) -> tuple[tuple[Path, ...], str]:
        """Where this run saw all tests; else why it did not."""
        if self._crashed:
            return (), "a worker crashed before it said which tests there are"
        if session.exitstatus not in _NOT_BROKEN:
            return (), "the run broke off"
        if own := options_of_conftests(self._config):
            return (), f"this run has options of the suite's own conftest ({', '.join(own)})"
        places = whole_places(self._config)
        return places, "" if places else "this run picks tests out"

    def _write_reports(self) -> None:
        settings = self._settings
        if settings.reports or settings.job_page:
            from pytest_aerobust.reports.run import run_of
            from pytest_aerobust.reports.write import write_reports

            told = ([*self._reports.values()], self._incidents, len(self.collected))
            self._written = list(write_reports(settings, partial(run_of, settings, *told)))

    def _proves_nothing(self) -> bool:
        """Whether contracts were asked for, and the whole suite holds none."""
        return (
            self._settings.enabled
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

            summarise(terminalreporter, [*self._reports.values()])
        for told in self._told:
            terminalreporter.write_line(told.text, red=told.wrong, bold=told.wrong)
        for line, whole in self._written:
            terminalreporter.write_line(line, red=not whole)


def cache_of(config: pytest.Config, settings: Settings) -> "Cache | None":
    """Where results are kept; `-p no:cacheprovider` leaves no place for them."""
    if not settings.cached or not hasattr(config, "cache"):
        return None
    from pytest_aerobust.history.cache.store import Cache

    return Cache.within(config.cache)
