"""Normalisation in front of a model, so that budgets stay in the units of the data."""

import torch
from torch import Tensor, nn

from pytest_aerobust.contract.arguments import Statistics
from pytest_aerobust.errors import ModelError


class Normalise(nn.Module):
    """``(x - mean) / std``, one number for all or one a channel, in front of a model.

    Args:
        mean: Subtracted; None subtracts nothing.
        std: Divides what is left; None divides by nothing.
        shape: Of one sample, whose first dimension holds the channels, or else the last.

    Raises:
        ModelError: As many statistics as neither dimension has entries, or as both have.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Statistics | None, std: Statistics | None, shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.register_buffer("mean", _per_channel("mean", 0.0 if mean is None else mean, shape))
        self.register_buffer("std", _per_channel("std", 1.0 if std is None else std, shape))

    @property
    def notes(self) -> tuple[str, ...]:
        """Where the channels are, unless they are where torch expects them."""
        if max(self.mean.ndim, self.std.ndim) != 1:
            return ()
        return ("mean= and std= are taken along the last dimension of the inputs, (N, ..., C)",)

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean.to(inputs)) / self.std.to(inputs)


def _per_channel(name: str, statistics: Statistics, shape: tuple[int, ...]) -> Tensor:
    """Statistics in a shape that broadcasts to a sample: ``(1, C, 1, ...)``, or ``(C,)``.

    For samples of one dimension both are the same; they count as channels first.
    """
    numbers = torch.as_tensor(statistics, dtype=torch.float64)
    if not numbers.ndim:
        return numbers
    count = len(numbers)
    first, last = shape[0] == count, shape[-1] == count
    if first and last and len(shape) > 1 and count > 1:
        raise ModelError(
            f"{name}= has {count} entries, and so have the first and the last dimension of a "
            f"sample {shape}: either could be the channels. Normalise inside the model instead"
        )
    if first:
        return numbers.reshape(1, -1, *[1] * (len(shape) - 1))
    if last:
        return numbers
    raise ModelError(
        f"{name}= has {count} entries, inputs have {shape[0]} channels (a sample is {shape}): give "
        "one number a channel, or a single one"
    )
