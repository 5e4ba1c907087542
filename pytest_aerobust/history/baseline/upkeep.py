"""What one run does to the baseline: in the process that the user sees, once, at its end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pytest_aerobust.errors import BaselineError
from pytest_aerobust.history.baseline.entries import Changes, Entry, read_baseline, update_baseline
from pytest_aerobust.history.baseline.sources import Source
from pytest_aerobust.options.settings import Settings


class Line(NamedTuple):
    """A line for the end of a run, and whether it tells of something that went wrong."""

    text: str
    wrong: bool = False


@dataclass(frozen=True)
class Collected:
    """Which tests a run has seen, whether or not somebody left them out afterwards.

    Attributes:
        tests: Names of all that carry a contract.
        read: Names of the files and classes whose tests were made.
        withheld: Names of the classes and functions that are there and of which no test was made.
        varied: Names of the functions whose tests differ by more than their contracts.
        places: Files and folders whose tests this run asked for, all of them.
        obstacle: Why there are none, in words.
    """

    tests: frozenset[str]
    read: frozenset[str]
    withheld: frozenset[str]
    varied: frozenset[str]
    places: tuple[Path, ...]
    obstacle: str = ""

    def missing(self, known: Iterable[str], root: Path) -> tuple[str, ...]:
        """Those of the known tests that this run would have seen, did it have them."""
        return tuple(test for test in known if test not in self.tests and self._lacks(root, test))

    def _lacks(self, root: Path, test: str) -> bool:
        """Whether the test's file is no more, or was read and gave nothing of its name."""
        name, *names = _function(test)
        file = (root / name).resolve()
        if not any(file.is_relative_to(place) for place in self.places):
            return False
        if not file.exists():
            return True
        nodes = ("::".join((name, *names[: depth + 1])) for depth in range(len(names)))
        return name in self.read and self.withheld.isdisjoint(nodes)

    def gone(self, missing: Iterable[str], root: Path) -> tuple[str, ...]:
        """Those of the missing tests that no run can have, on whatever machine.

        Parameters, marks and whole functions may hang on a GPU, an installed library or the option
        of a plugin (pytest-repeat's ``--count``); what is written down may be run elsewhere, but
        for the contracts of a function that has nothing else, where they are written out.
        """
        source = cache(Source.of)
        today = {_function(test) for test in self.tests} - {_function(each) for each in self.varied}

        def is_gone(file: str, *names: str) -> bool:
            if (file, *names) in today:
                return names in source(root / file).settled
            return not source(root / file).may_hold(names)

        return tuple(test for test in missing if is_gone(*_function(test)))


def _function(test: str) -> tuple[str, ...]:
    """A test's file, classes and function, without its parameters."""
    file, _, inside = test.partition("::")
    return (file, *inside.partition("[")[0].split("::"))


def keep_baseline(
    settings: Settings, results: Iterable[tuple[str, Any]], collected: Collected
) -> list[Line]:
    """Write what a run measured, and tell what came of it.

    Args:
        settings: The options.
        results: Names of tests, each with the plain dict of its :class:`Outcome`.
        collected: Which tests the run has seen.
    """
    try:
        return _kept(settings, dict(results), collected)
    except (BaselineError, OSError) as error:
        return [Line(f"the baseline was NOT written: {error}", wrong=True)]


def _kept(settings: Settings, results: dict[str, Any], collected: Collected) -> list[Line]:
    missing = collected.missing(read_baseline(settings.baseline), settings.root)
    gone = collected.gone(missing, settings.root)
    unused = missing if settings.prune == "all" else gone
    measured = {
        test: Entry.from_dict(result["baseline"])
        for test, result in results.items()
        if result["baseline"] is not None
    }
    told = []
    if settings.update is not None or (settings.prune and unused):
        changes = update_baseline(
            settings.baseline,
            measured,
            only_new=settings.update == "new",
            unused=unused if settings.prune else (),
        )
        told.append(Line(_summary(settings.baseline, changes)))
        told += [Line(f"removed from the baseline: {test}") for test in changes.removed]
    if settings.update is not None:
        told += [
            Line(f"not stored, because inconclusive: {test}")
            for test, result in results.items()
            if result["verdict"] == "inconclusive"
        ]
    if not settings.prune:
        told += [
            Line(f"the baseline's {test} has no test any more: remove it with --aerobust-prune")
            for test in unused
        ]
    elif collected.obstacle:
        told.append(
            Line(f"nothing was pruned: {collected.obstacle}, so nobody knows which tests are gone")
        )
    else:
        told += _kept_words([test for test in missing if test not in unused])
    return told


def _kept_words(tests: Sequence[str]) -> list[Line]:
    if not tests:
        return []
    return [
        *(Line(f"kept in the baseline: {test}") for test in tests),
        Line(
            "this run has no such tests, but their functions are still there, or may be: another "
            "machine or other options may run them. If none does, remove them with "
            "--aerobust-prune-all"
        ),
    ]


def _summary(path: Path, changes: Changes) -> str:
    counts = (
        f"{len(changes.new)} new",
        f"{len(changes.changed)} changed",
        f"{len(changes.unchanged)} unchanged",
        *([f"{len(changes.removed)} removed"] if changes.removed else []),
    )
    advice = "; review the diff and commit it" if changes else ""
    return f"baseline {path.name}: {', '.join(counts)}{advice}"
