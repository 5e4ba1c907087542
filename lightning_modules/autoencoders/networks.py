"""The network shapes that every variant can be given by name.

A network is the part on the far side of the two hidden layers of width ``hidden``: what leads
from inputs to the first of them, and from the second one to outputs. What lies between them, the
code, is the variant's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from torch import nn

Build = Callable[[tuple[int, ...], int, Callable[[], nn.Module]], nn.Module]
"""``(input_shape, hidden, activation) -> layers``."""

CHANNELS = (16, 32)
"""Of the first and of the second convolution, counted from the image."""


@dataclass(frozen=True)
class Network:
    """One row of `NETWORKS`; both build functions raise ValueError for a shape they don't take.

    Attributes:
        encoder: builds layers from inputs ``(N, *input_shape)`` to ``(N, hidden)``, with the
            activation after each of them.
        decoder: builds layers from ``(N, hidden)`` to ``(N, *input_shape)``, with the activation
            between them and none at the end.
    """

    encoder: Build
    decoder: Build


def dense_encoder(
    input_shape: tuple[int, ...], hidden: int, activation: Callable[[], nn.Module]
) -> nn.Module:
    """d-hidden, where d is the number of features of a sample of any shape."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), hidden), activation())


def dense_decoder(
    input_shape: tuple[int, ...], hidden: int, activation: Callable[[], nn.Module]
) -> nn.Module:
    """hidden-d, where d is the number of features of a sample of any shape."""
    return nn.Sequential(nn.Linear(hidden, prod(input_shape)), nn.Unflatten(1, input_shape))


def convolutional_encoder(
    input_shape: tuple[int, ...], hidden: int, activation: Callable[[], nn.Module]
) -> nn.Module:
    """Two 3x3 convolutions of stride 2, each halving height and width (rounded up), then dense.

    Raises:
        ValueError: ``input_shape`` is not ``(C, H, W)``.
    """
    depth, *_ = image_shape(input_shape)
    first, second = CHANNELS
    return nn.Sequential(
        nn.Conv2d(depth, first, 3, stride=2, padding=1),
        activation(),
        nn.Conv2d(first, second, 3, stride=2, padding=1),
        activation(),
        nn.Flatten(),
        nn.Linear(prod(_code_map(input_shape)), hidden),
        activation(),
    )


def convolutional_decoder(
    input_shape: tuple[int, ...], hidden: int, activation: Callable[[], nn.Module]
) -> nn.Module:
    """The mirror image of `convolutional_encoder`, with transposed convolutions.

    Raises:
        ValueError: ``input_shape`` is not ``(C, H, W)``.
    """
    depth, height, width = image_shape(input_shape)
    first, second = CHANNELS
    small = _code_map(input_shape)
    return nn.Sequential(
        nn.Linear(hidden, prod(small)),
        activation(),
        nn.Unflatten(1, small),
        _doubled(second, first, (_half(height), _half(width))),
        activation(),
        _doubled(first, depth, (height, width)),
    )


NETWORKS: dict[str, Network] = {
    "dense": Network(dense_encoder, dense_decoder),
    "convolutional": Network(convolutional_encoder, convolutional_decoder),
}


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """``input_shape`` as channels, height and width.

    Raises:
        ValueError: it is not the shape of an image.
    """
    if len(input_shape) != 3:
        raise ValueError(
            f"input_shape is {input_shape}: a convolutional network takes images (C, H, W); "
            "take network='dense'"
        )
    channels, height, width = input_shape
    return channels, height, width


def _code_map(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Shape of what the second convolution gives."""
    _, height, width = image_shape(input_shape)
    return CHANNELS[1], _half(_half(height)), _half(_half(width))


def _half(size: int) -> int:
    return (size + 1) // 2


def _doubled(before: int, after: int, size: tuple[int, int]) -> nn.ConvTranspose2d:
    """To ``size`` from half of it, rounded up."""
    # Sizes 2n - 1 and 2n have the same half n: the padding says which of them it was.
    height, width = (1 - length % 2 for length in size)
    return nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=(height, width))
