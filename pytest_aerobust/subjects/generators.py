"""Random generators that data hold for themselves, given back as a reading found them.

A loader that shuffles by a generator of its own would otherwise give each reader another order, and
a test its samples by how many tests read before it.
"""

import functools
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch

_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)

# Objects that are looked at: what data usually hold is far less.
_MOST = 10_000
# Entries of a container: longer ones hold samples, not what reads them.
_LONG = 100
# Whose classes keep no generator in their code.
_LIBRARIES = {"torch", "numpy", "lightning", "pytorch_lightning", *sys.stdlib_module_names}
# Each with what gives its entries, past what a subclass makes of them.
_CONTAINERS: dict[Any, Callable[[Any], Iterable[Any]]] = {
    dict: dict.values,
    **{kind: kind.__iter__ for kind in (list, tuple, set, frozenset, deque)},
}
_LEAVES = (torch.Tensor, np.ndarray, str, bytes, bytearray, int, float, types.ModuleType)


@contextmanager
def kept_generators(holder: Any) -> Iterator[None]:
    """Whatever is drawn from the generators of an object, afterwards they are where they were."""
    restorations = [_restoration(generator) for generator in _generators(holder)]
    try:
        yield
    finally:
        for restore in restorations:
            restore()


def _restoration(generator: Any) -> Callable[[], Any]:
    if isinstance(generator, np.random.Generator):
        return functools.partial(setattr, bits := generator.bit_generator, "state", bits.state)
    if isinstance(generator, random.Random):
        return functools.partial(generator.setstate, generator.getstate())
    return functools.partial(generator.set_state, generator.get_state())


def _generators(holder: Any) -> Iterator[Any]:
    """Those that an object holds, however deep, or that its methods name or enclose."""
    waiting, seen = deque([holder]), [holder]
    known = {id(holder)}
    while waiting and len(seen) < _MOST:
        value = waiting.popleft()
        if _is(value, _GENERATORS):
            yield value
            continue
        for each in _parts(value):
            if id(each) not in known and not _is(each, _LEAVES):
                known.add(id(each))
                seen.append(each)  # an id is unique only while its object lives
                waiting.append(each)


def _is(value: Any, kinds: type | tuple[type, ...]) -> bool:
    # `isinstance` also asks the object, whose answer may be code of the user's.
    return issubclass(type(value), kinds)


def _parts(value: Any) -> Iterable[Any]:
    for kind, entries in _CONTAINERS.items():
        if _is(value, kind):
            return (*entries(value),) if kind.__len__(value) <= _LONG else ()
    if _is(value, types.FunctionType):
        return _of_function(value)
    if _is(value, type):
        library = value.__module__.partition(".")[0] in _LIBRARIES
        return () if library else (*vars(value).values(), *value.__bases__)
    return (type(value), *_attributes(value))


def _attributes(value: Any) -> Iterator[Any]:
    """What an object holds in its dictionary, in slots, and where C code keeps it."""
    with suppress(AttributeError):
        yield from object.__getattribute__(value, "__dict__").values()
    for kind in type(value).__mro__:
        for member in vars(kind).values():
            if _is(member, types.MemberDescriptorType):
                with suppress(AttributeError):  # empty
                    yield member.__get__(value)


def _of_function(function: types.FunctionType) -> Iterator[Any]:
    """What it encloses, its defaults, and the generators among the globals that it names."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    for name in function.__code__.co_names:
        if _is(found := function.__globals__.get(name), _GENERATORS):
            yield found
