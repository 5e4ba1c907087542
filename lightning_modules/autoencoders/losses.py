"""The reconstruction losses that an autoencoder can be given by name.

All of them compare targets in [0, 1] (the data, brought there by their bounds) with the
decoder's outputs, both of shape ``(N, ...)``, and give the mean over the batch as a scalar.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

# Keras' `epsilon`: what it clips probabilities at before it takes their logarithm.
_SMALLEST_PROBABILITY = 1e-7


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """``mean((x' - x)^2)`` over samples and features."""
    return F.mse_loss(outputs, targets)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """``-mean(x log x' + (1 - x) log(1 - x'))`` over samples and features; x' in [0, 1].

    Torch bounds each logarithm at -100, so that the loss stays finite at x' = 0 and x' = 1.
    """
    return F.binary_cross_entropy(outputs, targets)


def categorical_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """``-sum x log(x' / sum x')`` over the features of a sample, mean over samples; x' >= 0.

    What Keras' ``categorical_crossentropy`` computes when a flattened image takes the place of
    the one-hot label, as in Sivaslioglu, Catak and Gul (2020), section 4.3. It does not see the
    scale of the outputs: a decoder trained with it and read raw may put out any scale.
    """
    outputs, targets = outputs.flatten(1), targets.flatten(1)
    total = outputs.sum(dim=1, keepdim=True).clamp_min(_SMALLEST_PROBABILITY)
    shares = (outputs / total).clamp_min(_SMALLEST_PROBABILITY)
    return -(targets * torch.log(shares)).sum(dim=1).mean()


@dataclass(frozen=True)
class ReconstructionLoss:
    """One row of `LOSSES`.

    Attributes:
        function: ``(outputs, targets) -> scalar``.
        low: smallest output that the formula is defined for.
        high: largest such output.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    low: float = -inf
    high: float = inf


LOSSES: dict[str, ReconstructionLoss] = {
    "mse": ReconstructionLoss(mean_squared_error),
    "bce": ReconstructionLoss(binary_cross_entropy, low=0, high=1),
    "cce": ReconstructionLoss(categorical_cross_entropy, low=0),
}
