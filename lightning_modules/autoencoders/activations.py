"""The activations that a layer can be given by name, and the range of each."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor, nn


class Exponential(nn.Module):
    """``exp(x)``, the activation that Keras calls "exponential"; overflows float32 at x > 88."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise ``exp(x)``, of any shape."""
        return torch.exp(x)


@dataclass(frozen=True)
class Activation:
    """One row of `ACTIVATIONS`.

    Attributes:
        layer: builds the module.
        low: largest number that no output falls below, ``-inf`` where there is none.
        high: smallest number that no output exceeds, ``inf`` where there is none.
    """

    layer: Callable[[], nn.Module]
    low: float = -inf
    high: float = inf

    @property
    def finite(self) -> bool:
        """Whether both ends of the range are known, so that one affine map serves all samples."""
        return isfinite(self.low) and isfinite(self.high)

    def within(self, low: float, high: float) -> bool:
        """Whether every output lies in ``[low, high]``."""
        return low <= self.low and self.high <= high


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(nn.ReLU, low=0),
    "elu": Activation(nn.ELU, low=-1),  # Clevert et al., 2016, with alpha = 1
    "exponential": Activation(Exponential, low=0),
    "sigmoid": Activation(nn.Sigmoid, low=0, high=1),
    "softplus": Activation(nn.Softplus, low=0),
    "softsign": Activation(nn.Softsign, low=-1, high=1),
    "tanh": Activation(nn.Tanh, low=-1, high=1),
    "identity": Activation(nn.Identity),
}


def check_range(what: str, low: float, high: float, activation: str) -> None:
    """Refuse an activation, by its name, whose outputs may leave the range that ``what`` needs.

    Raises:
        ValueError: with both ranges and the activations that would do.
    """
    row = ACTIVATIONS[activation]
    if not row.within(low, high):
        fitting = [name for name, other in ACTIVATIONS.items() if other.within(low, high)]
        raise ValueError(
            f"{what} needs numbers in [{low:g}, {high:g}], but the outputs of {activation!r} span "
            f"[{row.low:g}, {row.high:g}]: take {' or '.join(fitting)}"
        )
