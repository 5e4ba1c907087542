"""Data that tests of one session share: read again wherever it may have changed since.

A loader is the same object in every test, and what it gives may be another: a flag that a test
sets, an array that was changed in place, a file. So it is read for every test, but where no
code of the user's takes part in a reading and what it holds has not changed.
"""

import types
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from pytest_aerobust.errors import DataError
from pytest_aerobust.history.cache.identity import Identity, NotFollowedError
from pytest_aerobust.subjects.data import Pairs, read_samples

# What a reading by torch's own code alone depends on, whole; a subclass may hold anything else.
_PLAIN = {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device}
_HOLDING = {list, tuple, dict, set, frozenset, Tensor, np.ndarray}
_TORCH_S_OWN = "torch.utils.data"
_RESTLESS = (
    "the data differ each time they are read (random numbers of their own?): each test uses what "
    "its own reading gave"
)


@dataclass(frozen=True)
class _Reading:
    """What an object gave.

    Attributes:
        data: The object itself, where nobody can be told when it dies: an id is unique only while
            its object lives.
        pairs: What was read.
        depends: Digest of all that this depends on; None where code of the user's takes part.
    """

    data: Any
    pairs: Pairs
    depends: str | None


class Readings:
    """The data of a session by the objects that give them."""

    def __init__(self) -> None:
        self._known: dict[int, _Reading] = {}

    def of(self, data: Any) -> Pairs:
        """Inputs and labels as the object gives them now.

        Raises:
            DataError: As :func:`read_samples`.
        """
        if isinstance(data, tuple | list):  # nothing to read: these are the samples
            return read_samples(data)
        known = self._known.get(id(data))
        if known is not None and known.depends is not None and known.depends == _depends_on(data):
            return known.pairs
        if known is None:
            held = None if self._forgotten_with(data) else data
            pairs = read_samples(data)
        else:
            held, pairs = known.data, _read_again(data, known.pairs)
        self._known[id(data)] = _Reading(held, pairs, _depends_on(data))
        return pairs

    def _forgotten_with(self, data: Any) -> bool:
        """Whether what an object gave is forgotten as soon as nobody holds the object."""
        try:
            weakref.finalize(data, self._known.pop, id(data), None).atexit = False
        except TypeError:
            return False
        return True


def _read_again(data: Any, before: Pairs) -> Pairs:
    try:
        pairs = read_samples(data)
    except DataError:
        if isinstance(getattr(data, "dataset", data), IterableDataset):
            return before  # a stream that is used up gives nothing more
        raise
    if _same(pairs, before):
        return before
    if _same(pairs, read_samples(data)):
        return pairs
    # Whether they also changed can't be told from their own numbers: what came first is of then.
    return pairs._replace(notes=(*pairs.notes, _RESTLESS))


def _same(one: Pairs, other: Pairs) -> bool:
    return all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))
        for a, b in zip(one[:2], other[:2], strict=True)
    )


def _bits(tensor: Tensor) -> Tensor:
    return tensor.cpu().contiguous().flatten().view(torch.uint8)


def _depends_on(data: Any) -> str | None:
    """Digest of all that a reading depends on; None where code of the user's takes part."""
    contents = _Contents()
    try:
        contents.add(data)
    except NotFollowedError:
        return None
    return contents.digest


class _Contents(Identity):
    """A digest of torch's own datasets, loaders and samplers over plain values, tensors and arrays.

    Of whatever else there is the first is refused: code may depend on anything, and following it
    takes longer than most readings.
    """

    def _add(self, value: Any) -> None:
        if not _is_content(value):
            raise NotFollowedError(f"a {type(value).__qualname__}")
        super()._add(value)

    def _add_all(self, value: Any) -> None:
        self._add(value)
        if self._named:
            raise NotFollowedError("a class of torch with a method that is none of torch's")


def _is_content(value: Any) -> bool:
    if type(value) in _PLAIN or type(value) in _HOLDING:
        return True
    told = value if isinstance(value, type | types.FunctionType) else type(value)
    return f"{told.__module__}.".startswith(f"{_TORCH_S_OWN}.")
