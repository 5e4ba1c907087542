"""Code in an attack that is neither Foolbox's nor this package's: the suite's own, or another's.

Nothing that is asked of a model tells how an attack would search today. So what such an attack
measured answers no later run, and a baseline holds what the attack was made of.
"""

import array
import datetime
import decimal
import enum
import functools
import hashlib
import inspect
import sys
import time
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from importlib import import_module, metadata
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.attacks.search import setting_text
from pytest_aerobust.choice import AttackChoice
from pytest_aerobust.history.identity import in_fixed_order, names_in, of_library

# Whose versions are part of what a measurement is kept under, and what has no code of its own.
_KNOWN = {"foolbox", "pytest_aerobust", "torch", "numpy", "scipy", "eagerpy"}
# Values that their own text tells, the same in every process.
_PLAIN = (
    *(type(None), bool, int, float, complex, Fraction, decimal.Decimal, str, bytes, bytearray),
    *(range, slice, PurePath, datetime.date, datetime.time, datetime.timedelta, array.array),
    *(Tensor, np.ndarray, np.generic, np.dtype, torch.dtype, torch.device),
)
# Code that its name tells, where it is none of the user's.
_CODE = (
    *(type, types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType),
    *(types.WrapperDescriptorType, types.MethodWrapperType, np.ufunc),
)
# Of known classes those whose objects hold what the user put there. Any other (a logger, a lock, a
# file) is told by its class: what it holds is nobody's setting, and another in each process.
_HOLDERS = {"foolbox", "pytest_aerobust", "torch.nn"}
_SECONDS = 2.0
# What stands for code that takes longer to follow, and compares with nothing.
NOT_FOLLOWED = f"not followed, as that takes more than {_SECONDS:g} s"
_too_long: set[str] = set()


def code_of(choice: AttackChoice) -> str:
    """A digest of the code in an attack that comes with no version; empty where there is none.

    It is of source texts, and of the values that these name, so that another Python gives the
    same. :data:`NOT_FOLLOWED` where that takes too long, of each attack tried once in a process.
    """
    attack = _class_of(choice) if choice.ready is None else choice.ready
    name = _name(attack if isinstance(attack, type) else type(attack))
    if name in _too_long:
        return NOT_FOLLOWED
    walk = _Walk([attack, choice.arguments], time.perf_counter() + _SECONDS)
    try:
        walk.follow()
    except TimeoutError:
        _too_long.add(name)
        return NOT_FOLLOWED
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


def _name(value: Any) -> str:
    """What code or a class is called."""
    name = getattr(value, "__qualname__", getattr(value, "__name__", type(value).__qualname__))
    return f"{getattr(value, '__module__', None) or 'builtins'}.{name}"


class _Walk:
    """Collects the texts of all code that an attack holds and names.

    Args:
        values: Where to start.
        until: When to stop, by `time.perf_counter`.

    Attributes:
        found: Whether there is any.
        texts: In the order in which they are met, with the values that code names.
    """

    def __init__(self, values: Iterable[Any], until: float) -> None:
        self.found = False
        self.texts: list[str] = []
        self._until = until
        # Each with whether code names it, so that its own values are told, too.
        self._waiting = deque((value, False) for value in values)
        self._seen: set[int] = set()
        # An id is unique only while its object lives.
        self._alive: list[Any] = []

    def follow(self) -> None:
        """Look for code in the values, and in what they hold.

        Raises:
            TimeoutError: That takes too long.
        """
        while self._waiting:
            if time.perf_counter() > self._until:
                raise TimeoutError
            value, named = self._waiting.popleft()
            if not isinstance(value, _PLAIN) and id(value) not in self._seen:
                self._seen.add(id(value))
                self._alive.append(value)
                self._visit(value, named)

    def _visit(self, value: Any, named: bool) -> None:
        if isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        else:
            for name, each in _held(value):
                if named:
                    self._named(name, each)
                else:
                    self._waiting.append((each, False))

    def _class(self, value: type) -> None:
        for base in value.__mro__:
            if self._is_users(base):
                self._source(base)
            for name, held in sorted(vars(base).items()):
                inner = getattr(held, "__func__", getattr(held, "fget", held))
                if isinstance(inner, types.FunctionType):
                    self._member(inner, base)
                elif self._is_users(base) and not name.startswith("__"):
                    self._named(name, inner)

    def _member(self, function: types.FunctionType, base: type) -> None:
        """A method: its text is that of its class, unless somebody put it there afterwards."""
        if function.__module__ != base.__module__:
            self._waiting.append((function, False))
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
        self.texts.append(f"{name}={_told(value)}")
        self._waiting.append((value, True))


def _told(value: Any) -> str:
    """What is said of a value where code names it, beside what it holds."""
    if isinstance(value, Tensor | np.ndarray):
        return setting_text(value)
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, torch.Generator):
        return f"generator of seed {value.initial_seed()}"
    if isinstance(value, np.random.Generator):
        return f"generator of seed {getattr(value.bit_generator.seed_seq, 'entropy', None)}"
    return _name(value if isinstance(value, _CODE) else type(value))


def _held(value: Any) -> Iterable[tuple[str, Any]]:
    """What an object is made of, by name: its class among it."""
    if isinstance(value, functools.partial):
        return {"func": value.func, "args": value.args, "keywords": value.keywords}.items()
    if isinstance(value, types.MethodType):
        return {"func": value.__func__, "self": value.__self__}.items()
    kind = type(value)
    own = [("class", kind)] if not _known(kind.__module__) else []
    if isinstance(value, Mapping):
        return [*own, *((str(key), each) for key, each in value.items())]
    if isinstance(value, set | frozenset):
        return [*own, *(("", each) for each in in_fixed_order(value))]
    if isinstance(value, list | tuple | deque):
        return [*own, *(("", each) for each in value)]
    if isinstance(value, types.SimpleNamespace):
        return [*own, *vars(value).items()]
    if own or any(kind.__module__.startswith(known) for known in _HOLDERS):
        return [("class", kind), *_attributes(value)]
    return ()


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds in its dictionary and its slots."""
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


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
            held = scope.get(name, scope)
            if held is scope:
                continue
            yield name, held
            inner = held.__name__ if isinstance(held, types.ModuleType) else None
            if inner is not None and inner not in seen and not _known(inner):
                seen.add(inner)
                if not of_library(inner):
                    waiting.append(vars(held))


def _version(root: str) -> str:
    try:
        return metadata.version(root)
    except metadata.PackageNotFoundError:
        return ""
