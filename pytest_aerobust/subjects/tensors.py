"""Arrays, lists and tensors of any make as plain tensors: dense, in memory, of a common type."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.errors import AerobustError, DataError

# What both torch and NumPy compute in; torch holds other types, but can do little with them.
_FLOATS = (torch.float16, torch.float32, torch.float64)
_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
# Entries of a batch or a mapping in a message before the rest is only counted.
_SHOWN = 4
# Letters of a text in a message.
_LETTERS = 20


def as_tensor(name: str, value: Any) -> Tensor:
    """A plain tensor with the numbers of a value: the same memory, where that is possible.

    Sparse, quantised and MKL-DNN tensors become dense, other byte orders the machine's own, types
    that torch only holds those that it computes in.

    Args:
        name: What errors call it.
        value: A tensor, an array, nested lists of numbers, or whatever NumPy reads as an array.

    Raises:
        DataError: It holds no numbers, or they are of no single shape.
    """
    if isinstance(value, Tensor):
        return _dense(name, value.detach())
    if hasattr(value, "toarray"):  # a sparse matrix of SciPy
        value = value.toarray()
    check_mask(name, value)
    try:
        array = _native(np.ascontiguousarray(value))
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name} are {_kind(value)} that no tensor can be made of: {_why(value, error)}"
        ) from error


def _dense(name: str, tensor: Tensor) -> Tensor:
    problem = not_plain(tensor)
    if problem in (_META, _NESTED):
        cure = {
            _META: "load them onto a device first",
            _NESTED: f"pad the samples to one shape and give torch.stack(list({name}.unbind()))",
        }[problem]
        raise DataError(f"{name} are {problem}: {cure}")
    if problem:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    tensor = tensor.resolve_neg()  # whose bytes nobody can read else
    if tensor.is_inference():
        tensor = tensor.clone()  # autograd refuses those that were made under inference_mode
    if tensor.is_floating_point() and tensor.dtype not in _FLOATS:
        return tensor.to(torch.float32)
    return tensor.to(torch.int64) if tensor.dtype in _UNSIGNED else tensor


_META = "on the meta device, which holds no numbers"
_NESTED = "a nested tensor, whose samples may have several shapes"


def not_plain(tensor: Tensor) -> str:
    """What keeps a tensor from being one block of numbers, in words; empty where nothing does."""
    if tensor.is_nested:
        return _NESTED
    if tensor.is_meta:
        return _META
    return "" if tensor.layout is torch.strided else f"a tensor of layout {tensor.layout}"


def plain_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The plain tensors that hold all of a tensor in whatever layout, the same memory if it can be.

    Torch neither compares sparse tensors nor looks at their storage.
    """
    if tensor.is_nested:
        return tensor.unbind()
    if tensor.layout is torch.strided:
        return (tensor,)
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor.to_dense(),)


def same_content(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one layout hold the same numbers in the same form."""
    parts = plain_parts(one.detach()), plain_parts(other.detach())
    return len(parts[0]) == len(parts[1]) and all(map(torch.equal, *parts))


def _native(array: np.ndarray) -> np.ndarray:
    """An array in a type that torch computes in, where there is one for its numbers."""
    if array.dtype.kind == "O":
        array = np.ascontiguousarray(array.tolist())  # numbers, or arrays of one shape
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_mask(name: str, value: Any) -> None:
    """Refuse a masked array in which something is masked.

    Raises:
        DataError: NumPy would hand out what is behind the mask.
    """
    masked = int(np.sum(value.mask)) if isinstance(value, np.ma.MaskedArray) else 0
    if masked:
        raise DataError(
            f"{name} are a masked array of which {masked} entries are masked: leave out the "
            "samples that hold them, or fill them in with .filled(...)"
        )


def _kind(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"an ndarray of {value.dtype}"
    if isinstance(value, Mapping):
        return f"a {kind} with the keys {keys(value)}"
    return f"a {kind}"


def _why(value: Any, error: Exception) -> str:
    """The reason and the next step; torch's own words where nothing better is known."""
    if isinstance(value, Mapping):
        return "give the one entry that is meant"
    if isinstance(value, Iterator):
        return "it can be read once only; give list(...) of it"
    if value is None:
        return "nothing came; expected a tensor, an array or a list"
    try:
        array = np.asarray(value)
    except ValueError:
        return "its entries have several shapes; expected one shape for all samples"
    first = array.flat[0] if array.size else None
    if array.dtype.names:
        return (
            f"it has the fields {', '.join(array.dtype.names)}; give plain numbers, such as "
            "numpy.lib.recfunctions.structured_to_unstructured makes of it"
        )
    if isinstance(first, str | bytes):
        return (
            f"it holds text, such as {str(first)[:_LETTERS]!r}; give numbers, for classes their "
            "places among the model's outputs, counted from 0"
        )
    if array.dtype.kind == "O":
        kinds = sorted({type(entry).__name__ for entry in array.flat})
        return f"it holds {' and '.join(kinds[:_SHOWN])}; expected numbers, of one shape a sample"
    return f"torch has no type like {array.dtype} ({type(error).__name__}); expected numbers"


@contextmanager
def checked_as(name: str, value: Any) -> Iterator[None]:
    """A block that checks a value; what torch can't do with it is said of the value.

    Raises:
        DataError: In place of whatever torch raises.
    """
    try:
        yield
    except AerobustError:
        raise
    except (RuntimeError, TypeError, ValueError) as cause:
        raise DataError(
            f"{name} are {described(value)}, of which {type(cause).__name__} says: {cause}. "
            "Expected a plain tensor or array of float32, float64 or whole numbers"
        ) from cause


def keys(mapping: Mapping[Any, Any]) -> str:
    """The keys of a mapping in a message; of many, the first."""
    more = f" and {len(mapping) - _SHOWN} more" if len(mapping) > _SHOWN else ""
    return ", ".join(map(repr, islice(mapping, _SHOWN))) + more


def described(value: Any) -> str:
    """Type and shape of whatever came in place of inputs and labels."""
    kind = type(value).__name__
    if isinstance(value, Tensor) and value.is_nested:
        return f"{kind} (nested)"
    if isinstance(value, Tensor | np.ndarray):
        return f"{kind} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"{kind} with the keys {keys(value)}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        parts = ", ".join(type(part).__name__ for part in value[:_SHOWN])
        more = ", ..." if len(value) > _SHOWN else ""
        return f"{kind} of {len(value)} ({parts}{more})"
    return kind
