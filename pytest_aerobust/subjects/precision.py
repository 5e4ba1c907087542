"""Products of float32 numbers in all their bits, whatever shortcuts torch's switches allow."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import TypeVar

import torch
from torch import backends

# What torch computes in TF32 or bfloat16 where it may; convolutions on a GPU do so by default.
_PRODUCTS = [
    attrgetter(name)(backends)
    for name in (
        *("cuda.matmul", "cudnn.conv", "cudnn.rnn"),
        *("mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn"),
    )
]
_REDUCED = ("tf32", "bf16")

T = TypeVar("T")


@contextmanager
def full_float32() -> Iterator[None]:
    """Nothing is rounded to fewer bits than float32 has; afterwards the switches are as they were.

    Ten bits differ from batch to batch in the third digit, and from a GPU to a CPU.
    """
    before = [product.fp32_precision for product in _PRODUCTS]
    # The older switches, which other code may read in the meantime, have to agree with the newer.
    convolutions = _readable(lambda: backends.cudnn.allow_tf32)
    products = _readable(torch.get_float32_matmul_precision)
    backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for product in _PRODUCTS:
        if product.fp32_precision in _REDUCED:
            product.fp32_precision = "ieee"
    try:
        yield
    finally:
        if products is not None:
            torch.set_float32_matmul_precision(products)
        if convolutions is not None:
            backends.cudnn.allow_tf32 = convolutions
        for product, precision in zip(_PRODUCTS, before, strict=True):
            if product.fp32_precision != precision:
                product.fp32_precision = precision


def _readable(read: Callable[[], T]) -> T | None:
    """An older switch; None where the newer ones say what it can't."""
    try:
        return read()
    except RuntimeError:
        return None
