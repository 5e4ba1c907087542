"""Which contracts the suite holds: recorded before any other hook can leave one out."""

from collections.abc import Generator, Iterable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from pytest_aerobust.names import lasting_name
from pytest_aerobust.plugin.marks import contract_marks

# What can carry marks, told by its type: asking a lazy object anything might import the world.
_MARKED = (FunctionType, staticmethod, classmethod, type)
# What pytest calls the one test, a skipped one, of a function with an empty set of parameters.
_NO_PARAMETERS = "NOTSET"


class Inventory:
    """A plugin that watches tests being made, and keeps what other plugins drop afterwards.

    Of what is left out before it becomes a test only the place is known: a file that nobody read,
    a class or function that is there and gave nothing.

    Args:
        root: Folder that everything is named from.
        case: The parameter that says which contract a test is about.

    Attributes:
        tests: Names of all tests that carry a contract.
        read: Names of the files and classes whose tests were made.
        withheld: Names of the functions and classes of which nobody made a test.
        varied: Names of the functions whose tests differ by more than their contracts.
    """

    def __init__(self, root: Path, case: str) -> None:
        self._root, self._case = root, case
        self.tests: set[str] = set()
        self.read: set[str] = set()
        self.withheld: set[str] = set()
        self.varied: set[str] = set()

    # Innermost of its kind, so that it sees what was made as it was made.
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pycollect_makeitem(
        self, collector: pytest.Module | pytest.Class, name: str, obj: object
    ) -> Generator[None, Any, Any]:
        made = yield
        nodes = made if isinstance(made, list) else [] if made is None else [made]
        self._saw(node for node in nodes if isinstance(node, pytest.Item))
        if not nodes and issubclass(type(obj), _MARKED):
            inherited = any(True for _ in collector.iter_markers("robust"))
            if inherited or _states_contract(obj):
                self.withheld.add(f"{self._name(collector)}::{name}")
        classes = [node for node in nodes if isinstance(node, pytest.Class)]
        self.withheld.update(map(self._name, classes))
        return made

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Collectors of other plugins make their items elsewhere."""
        self._saw([item])

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if report.passed and _is_open(collector):
            self.read.add(self._name(collector))
        return report

    def _saw(self, items: Iterable[pytest.Item]) -> None:
        for item in items:
            if not contract_marks(item):
                continue
            name = self._name(item)
            self.tests.add(name)
            function, _, parameters = name.partition("[")
            if _NO_PARAMETERS in parameters:
                self.withheld.add(function)
            if {*getattr(getattr(item, "callspec", None), "params", ())} - {self._case}:
                self.varied.add(function)

    def _name(self, node: pytest.Item | pytest.Collector) -> str:
        return lasting_name(node, self._root)

    def plain(self) -> list[list[str]]:
        """All of it for another process."""
        withheld = self.withheld - self.read
        return [sorted(ids) for ids in (self.tests, self.read, withheld, self.varied)]

    def add(self, plain: Iterable[Iterable[str]]) -> None:
        """Take over what another process has seen."""
        known = (self.tests, self.read, self.withheld, self.varied)
        for ids, more in zip(known, plain, strict=True):
            ids.update(more)


def _states_contract(obj: Any) -> bool:
    stated = getattr(obj, "pytestmark", ())
    marks = stated if isinstance(stated, list | tuple) else [stated]
    if any(getattr(mark, "name", None) == "robust" for mark in marks):
        return True
    if not isinstance(obj, type):
        return False
    members = (each for base in obj.__mro__ for each in vars(base).values())
    return any(_states_contract(each) for each in members if isinstance(each, FunctionType))


def _is_open(collector: pytest.Collector) -> bool:
    """Whether pytest looks for tests inside; where it does not, nobody knows what there is."""
    if not isinstance(collector, pytest.Module | pytest.Class):
        return False
    obj = collector.obj
    if not getattr(obj, "__test__", True):
        return False
    # Pytest passes by classes that want to be built in a way of their own.
    built = (getattr(obj, "__init__", None), getattr(obj, "__new__", None))
    return isinstance(collector, pytest.Module) or built == (object.__init__, object.__new__)
