"""What an object is made of, and what is said of it: the same in every process and checkout.

Nothing of a machine is among it: no folder outside of the suite, no device, no variable of the
environment, and no state of a generator, nor what one was seeded with where nobody said that.
"""

import array
import contextlib
import copyreg
import datetime
import decimal
import enum
import functools
import os
import random
import re
import sys
import types
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytest_aerobust.attacks.search import array_text
from pytest_aerobust.history.cache.identity import in_fixed_order

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
# Their states move with each draw, whoever draws.
_GENERATORS = (
    *(random.Random, np.random.RandomState, np.random.Generator, np.random.BitGenerator),
    *(np.random.SeedSequence, torch.Generator),
)
# A larger seed nobody typed: NumPy takes 128 bits from the system where it is given none, torch 64.
_LARGEST_SEED = 2**53
# What is another in each process, or holds random draws, and is nobody's setting. The locks and
# files within would be told by their classes alone.
_MACHINERY = {
    *("asyncio", "concurrent", "io", "_io", "logging", "multiprocessing", "socket", "subprocess"),
    *("tempfile", "_thread", "threading", "weakref", "_weakrefset"),
    *("torch._dynamo", "torch._inductor", "torch.cuda", "torch.quasirandom", "scipy.stats._qmc"),
}
# What Python knows of its surroundings, which code may import by name.
_SURROUNDINGS = (os.environ, getattr(os, "environb", None), sys.path, sys.argv, sys.modules)
# What wraps other code, and by which names it holds that.
WRAPPERS = (
    *(functools.partial, functools.partialmethod, functools.cached_property),
    *(functools.singledispatchmethod, type(functools.cache(len)), types.MethodType),
    *(staticmethod, classmethod, property),
)
_WRAPPED = (
    *("func", "args", "keywords", "dispatcher", "fget", "fset", "fdel"),
    *("__func__", "__self__", "__wrapped__"),
)
# The address by which torch.compile knows what it made, and what pytest says of a test, among them.
_NO_PART = {"__dict__", "__weakref__", "_torchdynamo_wrapper_id", "pytestmark"}
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")

Held = Iterable[tuple[str, Any]]


def known(module: str | None) -> bool:
    """Whether a module is Python's, or of a library whose version is kept with a measurement."""
    root = (module or "builtins").partition(".")[0]
    return root in _KNOWN or root in sys.stdlib_module_names


def name_of(value: Any) -> str:
    """What code or a class is called."""
    name = getattr(value, "__qualname__", getattr(value, "__name__", type(value).__qualname__))
    return f"{getattr(value, '__module__', None) or 'builtins'}.{name}"


def says_all(value: Any) -> bool:
    """Whether an object's text tells all of it: nobody gave it code, or attributes of its own."""
    if not isinstance(value, _PLAIN) or isinstance(value, enum.Enum):
        return False
    objects = isinstance(value, np.ndarray) and value.dtype.hasobject
    return known(type(value).__module__) and not objects and not getattr(value, "__dict__", None)


def told(value: Any, root: Path) -> str:
    """What is said of a value where code names it, beside what it holds.

    Args:
        value: Any object.
        root: The suite's folder; a path outside of it is told to be elsewhere.
    """
    if isinstance(value, enum.Enum):
        return f"{name_of(type(value))}.{value.name}"
    if isinstance(value, Tensor | np.ndarray):
        return array_text(value)
    if isinstance(value, str | PurePath):
        return repr(anywhere(value.as_posix() if isinstance(value, PurePath) else value, root))
    if isinstance(value, torch.device):
        return "a device"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, _GENERATORS):
        return f"generator of seed {_seed(value)}"
    return name_of(value if isinstance(value, _CODE) else type(value))


def anywhere(text: str, root: Path) -> str:
    """A text as it is in any checkout, on any machine."""
    if _DEVICE.fullmatch(text):
        return "a device"
    text = _spelled(root).sub("<suite>", text)
    return "<elsewhere>" if Path(text).is_absolute() and "\n" not in text else text


@functools.lru_cache
def _spelled(root: Path) -> re.Pattern[str]:
    """Where a text names the suite's folder, or what is in it."""
    folders = [folder for folder in (root, root.resolve()) if folder != Path(folder.anchor)]
    texts = {re.escape(text) for folder in folders for text in (str(folder), folder.as_posix())}
    # The root of all folders is none of a suite's: any path starts with it.
    return re.compile(rf"({'|'.join(sorted(texts))})(?![\w.-])" if texts else "(?!)")


def _seed(generator: Any) -> str:
    """What a generator was seeded with, where somebody said that and it can be known."""
    if isinstance(generator, torch.Generator):
        return _given(generator.initial_seed())
    # A Generator holds a BitGenerator, which holds a SeedSequence.
    bits = getattr(generator, "bit_generator", generator)
    sequence = getattr(bits, "seed_seq", bits)
    spawned = getattr(sequence, "spawn_key", ())
    return f"{_given(getattr(sequence, 'entropy', None))}{spawned or ''}"


def _given(seed: Any) -> str:
    return "its own" if isinstance(seed, int) and seed >= _LARGEST_SEED else str(seed)


def held(value: Any) -> Held:
    """What an object is made of, by name: its class among it, where that is not Python's.

    Raises:
        Exception: Whatever code of the user's raises when it is looked at.
    """
    kind = type(value)
    if isinstance(value, types.ModuleType) or any(value is each for each in _SURROUNDINGS):
        return ()
    if _is_machinery(kind.__module__):
        return ()
    own = [] if known(kind.__module__) else [("class", kind)]
    for kinds, opened in _OPENED.items():
        if isinstance(value, kinds):
            # Python's own wrappers keep their locks and names there.
            return [*own, *opened(value), *(() if kind in WRAPPERS else attributes(value))]
    if own or isinstance(value, nn.Module) or kind.__module__.startswith("foolbox"):
        return [("class", kind), *(list(attributes(value)) or _reduced(value))]
    return _reduced(value)


def _is_machinery(module: str) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:depth]) in _MACHINERY for depth in (1, 2, 3))


def _reduced(value: Any) -> Held:
    """An object as it would be pickled; what can't be is told by its attributes."""
    with contextlib.suppress(Exception):
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
        if not isinstance(reduced, str):  # nothing but its name
            code, made_of, *more = reduced
            state = more.pop(0) if more else None
            return [("made by", code), ("of", made_of), ("state", state), *_entries(more)]
    return attributes(value)


def _entries(iterators: list[Any]) -> Held:
    """What the pickle of a list or dict would append."""
    return [("", each) for iterator in iterators if iterator is not None for each in iterator]


def attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds in its dictionary and its slots."""
    own = getattr(value, "__dict__", {})
    yield from ((name, each) for name, each in own.items() if name not in _NO_PART)
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in _NO_PART and hasattr(value, name):
                yield name, getattr(value, name)


def _pairs(value: Mapping[Any, Any]) -> Held:
    if isinstance(value, defaultdict):
        yield "default", value.default_factory
    for key, each in value.items():
        yield "key", key
        yield "value", each


def _wrapped(value: Any) -> Held:
    """Only what is wrapped: the rest is how Python's version at hand does that."""
    return [(name, getattr(value, name)) for name in _WRAPPED if hasattr(value, name)]


def _bound(value: Any) -> Held:
    """Whose method it is, where it is one."""
    owner = getattr(value, "__self__", None)
    return () if isinstance(owner, types.ModuleType) else [("self", owner)]


def _nothing(_: Any) -> Held:
    return ()


# How an object is opened, by the first entry that it is an instance of.
_OPENED: Mapping[Any, Callable[[Any], Held]] = {
    enum.Enum: lambda value: [("value", value.value)],
    (types.BuiltinFunctionType, types.MethodWrapperType): _bound,
    (*_CODE, *_GENERATORS): _nothing,
    np.ndarray: lambda value: [("", value.tolist())] if value.dtype.hasobject else (),
    _PLAIN: _nothing,
    WRAPPERS: _wrapped,
    Mapping: _pairs,
    (set, frozenset): lambda value: [("", each) for each in in_fixed_order(value)],
    (list, tuple, deque): lambda value: [("", each) for each in value],
}
