"""What a model is known by, from one process to the next, before it is asked: weights and code.

A digest of all that its modules hold: weights, buffers, attributes, the files of their classes and
functions, and what that code of the user's names in its turn. No digest can follow everything that
code may reach, nor has it all the time it would take: it is a sieve, and whatever passes it still
has to answer as before (see `probes`). What holds something that can't be followed is not known
at all.
"""

import enum
import functools
import hashlib
import inspect
import math
import os
import re
import sys
import sysconfig
import time
import types
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytest_aerobust.subjects.models import closed_over

_PLAIN = (type(None), bool, int, float, complex, Fraction, str, bytes, enum.Enum, Path)
_OF_TORCH = (torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format)
# What takes no part in an answer: what a trained Lightning module keeps of its training, and the
# address by which torch.compile knows its own modules.
_NO_PART = ("_trainer", "_fabric", "_torchdynamo_wrapper_id")
# What code may name and a digest can hold, beside functions, classes and objects of the user's.
_VALUES = (*_PLAIN, Tensor, np.ndarray, nn.Module, list, tuple, dict, set, frozenset)
# Where libraries are installed: those of this Python, and any folder that is called so, on
# PYTHONPATH, in another environment, or as Debian names it.
_LIBRARIES = tuple(
    sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "purelib", "platlib")
)
_INSTALLED = {"site-packages", "dist-packages"}
# Told by its files, wherever it is installed.
_OWN = "pytest_aerobust"
# Bit of a class's flags that says that it was made by Python code (CPython's heap types).
_MADE_BY_PYTHON = 1 << 9
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class NotFollowedError(Exception):
    """Something that can't be followed, named in the message."""


class TooLongError(NotFollowedError):
    """Following it takes longer than it may."""


class Identity:
    """A digest of objects that is the same in every process, and another where they differ.

    Objects are followed through their attributes; an object that comes again counts by its place
    among those seen before.

    Args:
        seconds: How long following may take; the contents of tensors, arrays and bytes don't
            count.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self._seconds, self._started, self._hashing = seconds, time.perf_counter(), 0.0
        self._hash = hashlib.blake2b(digest_size=16)
        self._seen: dict[int, int] = {}
        # An id is unique only while its object lives.
        self._alive: list[Any] = []
        self._named: list[Any] = []

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    @property
    def spent(self) -> float:
        """Seconds since it was made, without those for the contents of tensors and the like."""
        return time.perf_counter() - self._started - self._hashing

    def add(self, value: Any) -> None:
        """Follow one more object, and then what the user's code in it names.

        Raises:
            NotFollowedError: It holds something that can't be followed.
            TooLongError: There is no end of it in the time there is.
        """
        try:
            self._add_all(value)
        except NotFollowedError:
            raise
        except Exception as error:  # code of the user's that runs when it is looked at
            raise NotFollowedError(
                f"something that raises {type(error).__name__} when it is looked at: {error}"
            ) from error

    def _add_all(self, value: Any) -> None:
        self._add(value)
        while self._named:
            named = self._named.pop()
            try:
                self._add(named)
            except TooLongError:
                raise
            except NotFollowedError:
                if isinstance(named, nn.Module):
                    raise
                # Code may name what takes no part in an answer; its answers tell the rest.
                self._tell("not followed", type(named).__qualname__)

    def _add(self, value: Any) -> None:
        if self.spent > self._seconds:
            raise TooLongError(f"code without an end in {self._seconds:.1f} s")
        if isinstance(value, enum.Enum):
            self._tell(type(value).__qualname__, _ADDRESS.sub("", repr(value)))
        elif isinstance(value, bytes):
            self._tell("bytes", str(len(value)))
            self._content(value)
        elif isinstance(value, _PLAIN):
            self._tell(type(value).__qualname__, repr(value))
        elif isinstance(value, _OF_TORCH):
            self._tell("torch", repr(value))
        elif id(value) in self._seen:
            self._tell("again", str(self._seen[id(value)]))
        else:
            self._seen[id(value)] = len(self._seen)
            self._alive.append(value)
            self._tell(type(value).__qualname__)
            self._follow(value)

    def _tell(self, *words: str) -> None:
        for word in words:
            content = word.encode("utf-8", "surrogatepass")
            self._hash.update(len(content).to_bytes(8) + content)

    def _content(self, content: bytes) -> None:
        started = time.perf_counter()
        self._hash.update(content)
        self._hashing += time.perf_counter() - started

    def _follow(self, value: Any) -> None:
        for kinds, follow in _FOLLOWED.items():
            if isinstance(value, kinds):
                return follow(self, value)
        return self._object(value)

    def _tensor(self, value: Tensor) -> None:
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise NotFollowedError(f"a tensor that is {value.layout}, quantised or without content")
        # Through bytes: NumPy knows fewer precisions than torch.
        started = time.perf_counter()
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        self._hashing += time.perf_counter() - started
        self._array(content.numpy())
        self._tell(str(value.dtype), str(tuple(value.shape)))

    def _array(self, value: np.ndarray | np.generic) -> None:
        content = np.asarray(value)
        if content.dtype.hasobject:
            self._add(content.tolist())
            return
        self._tell(str(content.dtype), str(content.shape))
        self._content(np.ascontiguousarray(content).tobytes())

    def _sequence(self, value: list[Any] | tuple[Any, ...]) -> None:
        self._tell(str(len(value)))
        for entry in value:
            self._add(entry)

    def _set(self, value: set[Any] | frozenset[Any]) -> None:
        self._sequence(in_fixed_order(value))

    def _mapping(self, value: Mapping[Any, Any]) -> None:
        self._tell(str(len(value)))
        for key, entry in value.items():
            self._add(key)
            self._add(entry)

    def _function(self, value: types.FunctionType) -> None:
        self._source(value)
        self._tell(value.__qualname__)
        self._code(value.__code__)
        self._add([len(value.__closure__ or ()), *closed_over(value)])
        self._add([value.__defaults__, value.__kwdefaults__])
        self._names(value)

    def _code(self, value: types.CodeType) -> None:
        """Two functions of one line differ in nothing else."""
        self._tell(str(value.co_firstlineno), *value.co_names)
        self._hash.update(value.co_code)
        for constant in value.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            elif isinstance(constant, frozenset):
                self._set(constant)
            else:
                self._tell(repr(constant))

    def _names(self, function: types.FunctionType) -> None:
        """What a function of the user's reaches by name waits for its turn."""
        if not of_library(function.__module__):
            names = tuple(dict.fromkeys(names_in(function.__code__)))
            for held in _reached(names, ChainMap(function.__globals__, sys.modules)):
                self._await(held)

    def _await(self, held: Any) -> None:
        held = _unwrapped(held)
        if isinstance(held, types.ModuleType):
            return
        if isinstance(held, types.FunctionType | type):
            if of_library(held.__module__):
                self._by_name(held)
            else:
                self._named.append(held)
        elif isinstance(held, _VALUES) or not of_library(type(held).__module__):
            self._named.append(held)

    def _method(self, value: types.MethodType) -> None:
        self._add(value.__func__)
        self._add(value.__self__)

    def _partial(self, value: functools.partial[Any]) -> None:
        self._add([value.func, value.args, value.keywords])

    def _by_name(self, value: Any) -> None:
        self._tell(str(getattr(value, "__module__", "")), value.__name__)

    def _class(self, value: type) -> None:
        for base in value.__mro__[:-1]:
            self._tell(base.__module__, base.__qualname__)
            if base.__flags__ & _MADE_BY_PYTHON:
                self._source(base)
            self._body(base, of_library(base.__module__))

    def _body(self, value: type, library: bool) -> None:
        """The methods of a class of the user's and its own values; of another, what is put there.

        A library's methods are told by its files, but not those that somebody replaced.
        """
        # By name: what fills a class in a loop over a set does so in another order each time.
        for name, held in sorted(vars(value).items()):
            inner = getattr(held, "__func__", getattr(held, "fget", held))
            inner = _unwrapped(inner)
            if isinstance(inner, types.FunctionType):
                if not library or not of_library(inner.__module__):
                    self._named.append(inner)
            elif not library and not name.startswith("__") and isinstance(inner, _VALUES):
                self._named.append(inner)

    def _source(self, value: Any) -> None:
        """The whole file in which a class or function stands."""
        try:
            file = inspect.getsourcefile(value)
            path = None if file is None else Path(file)
            known = path is not None and path.is_file()
            self._tell(file_digest(path) if path and known else inspect.getsource(value))
        except (OSError, TypeError) as error:
            raise NotFollowedError(f"{value!r}, whose source can't be read") from error

    def _object(self, value: Any) -> None:
        cls = type(value)
        hidden = [base for base in cls.__mro__[:-1] if not base.__flags__ & _MADE_BY_PYTHON]
        slotted = [base for base in cls.__mro__[:-1] if vars(base).get("__slots__")]
        if hidden or slotted or not hasattr(value, "__dict__"):
            raise NotFollowedError(f"a {cls.__module__}.{cls.__qualname__}")
        self._add(cls)
        self._mapping(
            {name: held for name, held in sorted(vars(value).items()) if name not in _NO_PART}
        )


_FOLLOWED: Mapping[Any, Callable[[Identity, Any], None]] = {
    Tensor: Identity._tensor,
    (np.ndarray, np.generic): Identity._array,
    (list, tuple): Identity._sequence,
    (set, frozenset): Identity._set,
    (dict, types.MappingProxyType): Identity._mapping,
    types.FunctionType: Identity._function,
    types.MethodType: Identity._method,
    functools.partial: Identity._partial,
    (types.BuiltinFunctionType, types.ModuleType): Identity._by_name,
    type: Identity._class,
}


def _unwrapped(held: Any) -> Any:
    """What a decorator keeps of the function that it was given, where it does."""
    try:
        return inspect.unwrap(held) if callable(held) else held
    except ValueError:  # it wraps itself, as some mocks do
        return held


def in_fixed_order(values: Iterable[Any]) -> list[Any]:
    """The members of a set, in an order that is the same in every process."""
    return sorted(values, key=_text)


def _text(value: Any) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(_text, value))).join("{}")
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)).join("()")
    if isinstance(value, type | types.FunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    return _ADDRESS.sub("", repr(value))


def names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)


def _reached(names: tuple[str, ...], scope: Mapping[str, Any]) -> Iterator[Any]:
    """What names stand for; those of a user's module are looked up in it, too."""
    waiting, seen = [scope], set()
    while waiting:
        scope = waiting.pop()
        for name in names:
            held = scope.get(name)
            if not isinstance(held, types.ModuleType) or of_library(held.__name__):
                yield held
            elif held.__name__ not in seen:
                seen.add(held.__name__)
                waiting.append(vars(held))


def of_library(module: str | None) -> bool:
    """Whether a module is none of the user's own: another version of it is another package."""
    if module is None or module.partition(".")[0] == _OWN:
        return True
    # Not by attributes: a module that is loaded lazily would be loaded now.
    told = getattr(sys.modules.get(module), "__dict__", {})
    # A package without __init__.py has a folder alone.
    place = told.get("__file__") or next(iter(told.get("__path__", ())), None)
    return place is None or _is_installed(str(place))


@functools.lru_cache(maxsize=4096)
def _is_installed(place: str) -> bool:
    return place.startswith(_LIBRARIES) or not _INSTALLED.isdisjoint(Path(place).parts)


def file_digest(path: Path) -> str:
    """Of a file's content, read again once the file changes."""
    told = path.stat()
    return _digest_of(path, told.st_mtime_ns, told.st_size)


@functools.lru_cache(maxsize=4096)
def _digest_of(path: Path, changed: int, size: int) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
