"""Code in an attack that is neither Foolbox's nor this package's: the suite's own, or another's.

Nothing that is asked of a model tells how an attack would search today. So what such an attack
measured answers no later run, and a baseline holds what the attack was made of.
"""

import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from importlib import import_module, metadata
from typing import Any

import numpy as np
from torch import Tensor

from pytest_aerobust.attacks.search import setting_text
from pytest_aerobust.choice import AttackChoice
from pytest_aerobust.history.identity import names_in, of_library

# Whose versions are part of what a measurement is kept under, and what has no code of its own.
_KNOWN = {"foolbox", "pytest_aerobust", "torch", "numpy", "scipy", "eagerpy"}
_PLAIN = (type(None), bool, int, float, complex, Fraction, str, bytes, Tensor, np.ndarray)


def code_of(choice: AttackChoice) -> str:
    """A digest of the code in an attack that comes with no version; empty where there is none.

    It is of source texts, and of the plain values that these name, so that another Python gives
    the same.
    """
    walk = _Walk()
    walk.visit(_class_of(choice) if choice.ready is None else choice.ready)
    walk.visit(choice.arguments)
    if not walk.found:
        return ""
    return hashlib.blake2b("\0".join(walk.texts).encode(), digest_size=8).hexdigest()


def _class_of(choice: AttackChoice) -> Any:
    """The class of a named attack; None where a package is missing, which is said elsewhere."""
    module, _, name = choice.spec.classes[choice.norm].rpartition(".")
    try:
        return getattr(import_module(module), name)
    except ImportError:
        return None


def _known(module: str | None) -> bool:
    root = (module or "builtins").partition(".")[0]
    return root in _KNOWN or root in sys.stdlib_module_names


class _Walk:
    """Collects the texts of all code that an attack holds and names.

    Attributes:
        found: Whether there is any.
        texts: In the order in which they are met, with the values that code names.
    """

    def __init__(self) -> None:
        self.found = False
        self.texts: list[str] = []
        self._seen: set[int] = set()
        # An id is unique only while its object lives.
        self._alive: list[Any] = []

    def visit(self, value: Any, *, named: bool = False) -> None:
        """Look for code in a value, and in what it holds.

        Args:
            value: Of whatever kind.
            named: Whether code names it, so that its own values are told, too.
        """
        if isinstance(value, _PLAIN) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._alive.append(value)
        if isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        else:
            for name, each in _held(value):
                if named:
                    self._named(name, each)
                else:
                    self.visit(each)

    def _class(self, value: type) -> None:
        for base in value.__mro__:
            if self._is_users(base):
                self._source(base)
            for name, held in vars(base).items():
                inner = getattr(held, "__func__", getattr(held, "fget", held))
                if isinstance(inner, types.FunctionType):
                    self._member(inner, base)
                elif self._is_users(base) and not name.startswith("__"):
                    self._named(name, inner)

    def _member(self, function: types.FunctionType, base: type) -> None:
        """A method: its text is that of its class, unless somebody put it there afterwards."""
        if function.__module__ != base.__module__:
            self.visit(function)
        elif self._is_users(base):
            self._reached(function)

    def _function(self, value: types.FunctionType) -> None:
        if self._is_users(value):
            self._source(value)
            self._reached(value)

    def _is_users(self, code: Any) -> bool:
        """Whether code is to be read; of another library its version is told."""
        module = code.__module__
        if _known(module):
            return False
        if not of_library(module):
            return True
        root = module.partition(".")[0]
        text = f"{root} {_version(root)}"
        if text not in self.texts:
            self.texts.append(text)
        self.found = True
        return False

    def _source(self, code: Any) -> None:
        try:
            text = inspect.getsource(code)
        except (OSError, TypeError):  # made by exec, or in a shell
            text = "without source"
        self.texts.append(f"{code.__qualname__}\n{text}")
        self.found = True

    def _reached(self, function: types.FunctionType) -> None:
        """What a function keeps, and what it names."""
        kept = {"defaults": function.__defaults__, "keywords": function.__kwdefaults__}
        for name, value in (*kept.items(), *_cells(function), *_globals(function)):
            self._named(name, value)

    def _named(self, name: str, value: Any) -> None:
        if isinstance(value, _PLAIN):
            self.texts.append(f"{name}={setting_text(value)}")
        self.visit(value, named=True)


def _held(value: Any) -> Iterable[tuple[str, Any]]:
    """What an object is made of, by name: its class among it."""
    if isinstance(value, functools.partial):
        return {"func": value.func, "args": value.args, "keywords": value.keywords}.items()
    if isinstance(value, types.MethodType):
        return {"func": value.__func__, "self": value.__self__}.items()
    if isinstance(value, Mapping):
        return [(str(key), each) for key, each in value.items()]
    if isinstance(value, set | frozenset):
        return [("", each) for each in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [("", each) for each in value]
    if isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        return ()
    return {"class": type(value), **getattr(value, "__dict__", {})}.items()


def _cells(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function's names stand for; those of a user's module are looked up in it, too."""
    names = tuple(dict.fromkeys(names_in(function.__code__)))
    waiting, seen = [function.__globals__], {function.__module__}
    while waiting:
        scope = waiting.pop()
        for name in names:
            held = scope.get(name)
            if not isinstance(held, types.ModuleType):
                if held is not None:
                    yield name, held
            elif held.__name__ not in seen and not _known(held.__name__):
                seen.add(held.__name__)
                if not of_library(held.__name__):
                    waiting.append(vars(held))


def _version(root: str) -> str:
    try:
        return metadata.version(root)
    except metadata.PackageNotFoundError:
        return ""
