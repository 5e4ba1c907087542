"""What a model is known by, from one process to the next: its weights, its code, its answers.

No digest can follow everything that code may reach, so a model is known by two things together: a
digest of all that its modules hold (weights, buffers, attributes, the files of their classes and
functions), and what it answers to a few samples, with its gradients there. What holds something
that can't be followed is not known at all.
"""

import enum
import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, complex, Fraction, str, bytes, enum.Enum, Path)
_OF_TORCH = (torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format)
# What a trained Lightning module keeps of its training: it takes no part in an answer.
_OF_TRAINING = ("_trainer", "_fabric")
# Bit of a class's flags that says that it was made by Python code (CPython's heap types).
_MADE_BY_PYTHON = 1 << 9


class NotFollowedError(Exception):
    """Something that can't be followed, named in the message."""


class Identity:
    """A digest of objects that is the same in every process, and another where they differ.

    Objects are followed through their attributes; an object that comes again counts by its place
    among those seen before.
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._seen: dict[int, int] = {}
        # An id is unique only while its object lives.
        self._alive: list[Any] = []

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def add(self, value: Any) -> None:
        """Follow one more object.

        Raises:
            NotFollowedError: It holds something that can't be followed.
        """
        if isinstance(value, _PLAIN):
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

    def _follow(self, value: Any) -> None:
        for kinds, follow in _FOLLOWED.items():
            if isinstance(value, kinds):
                return follow(self, value)
        return self._object(value)

    def _tensor(self, value: Tensor) -> None:
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise NotFollowedError(f"a tensor that is {value.layout}, quantised or without content")
        # Through bytes: NumPy knows fewer precisions than torch.
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        self._array(content.numpy())
        self._tell(str(value.dtype), str(tuple(value.shape)))

    def _array(self, value: np.ndarray | np.generic) -> None:
        content = np.asarray(value)
        if content.dtype.hasobject:
            self.add(content.tolist())
            return
        self._tell(str(content.dtype), str(content.shape))
        self._hash.update(np.ascontiguousarray(content).tobytes())

    def _sequence(self, value: list[Any] | tuple[Any, ...]) -> None:
        self._tell(str(len(value)))
        for entry in value:
            self.add(entry)

    def _set(self, value: set[Any] | frozenset[Any]) -> None:
        self._sequence(sorted(value, key=repr))

    def _mapping(self, value: Mapping[Any, Any]) -> None:
        self._tell(str(len(value)))
        for key, entry in value.items():
            self.add(key)
            self.add(entry)

    def _function(self, value: types.FunctionType) -> None:
        self._source(value)
        self._tell(value.__qualname__)
        self._code(value.__code__)
        self.add([cell.cell_contents for cell in value.__closure__ or ()])
        self.add([value.__defaults__, value.__kwdefaults__])
        told = {name: value.__globals__.get(name) for name in value.__code__.co_names}
        # Other functions and modules are told by their files, and by what the model answers.
        followed = (*_PLAIN, Tensor, np.ndarray, nn.Module)
        self.add({name: each for name, each in told.items() if isinstance(each, followed)})

    def _code(self, value: types.CodeType) -> None:
        """Two functions of one line differ in nothing else."""
        self._tell(str(value.co_firstlineno), *value.co_names)
        self._hash.update(value.co_code)
        for constant in value.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            else:
                self._tell(repr(constant))

    def _method(self, value: types.MethodType) -> None:
        self.add(value.__func__)
        self.add(value.__self__)

    def _partial(self, value: functools.partial[Any]) -> None:
        self.add([value.func, value.args, value.keywords])

    def _named(self, value: Any) -> None:
        self._tell(str(getattr(value, "__module__", "")), value.__name__)

    def _class(self, value: type) -> None:
        for base in value.__mro__[:-1]:
            self._tell(base.__module__, base.__qualname__)
            if base.__flags__ & _MADE_BY_PYTHON:
                self._source(base)

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
        self.add(cls)
        self._mapping(
            {name: held for name, held in vars(value).items() if name not in _OF_TRAINING}
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
    (types.BuiltinFunctionType, types.ModuleType): Identity._named,
    type: Identity._class,
}


def file_digest(path: Path) -> str:
    """Of a file's content, read again once the file changes."""
    told = path.stat()
    return _digest_of(path, told.st_mtime_ns, told.st_size)


@functools.lru_cache(maxsize=4096)
def _digest_of(path: Path, changed: int, size: int) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
