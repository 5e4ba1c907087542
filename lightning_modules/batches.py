"""What a batch is, and the shape of one sample: shared by autoencoders and classifiers."""

from collections.abc import Sequence

from torch import Tensor

Batch = Tensor | Sequence[Tensor]
"""Inputs ``(N, *input_shape)`` alone, or followed by labels ``(N,)``."""


def inputs_of(batch: Batch) -> Tensor:
    """The inputs of a batch, with or without labels."""
    return batch if isinstance(batch, Tensor) else batch[0]


def sample_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    """``input_shape`` as a tuple.

    Raises:
        ValueError: it is empty or holds a size below 1.
    """
    shape = tuple(input_shape)
    if not shape or any(size < 1 for size in shape):
        raise ValueError(f"input_shape is {shape}: expected sizes of 1 or more, as in (1, 28, 28)")
    return shape


def check_inputs(x: Tensor, input_shape: tuple[int, ...]) -> None:
    """Refuse inputs that aren't ``(N, *input_shape)``.

    Raises:
        ValueError: with the shape that came and the one expected.
    """
    if tuple(x.shape[1:]) != input_shape:
        expected = ", ".join(["N", *map(str, input_shape)])
        raise ValueError(f"inputs have shape {tuple(x.shape)}, expected ({expected})")
