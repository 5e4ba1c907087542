"""The likelihoods p(x|h) that a variational autoencoder can be given by name."""

from abc import ABC, abstractmethod
from math import inf, log, pi
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Likelihood(nn.Module, ABC):
    """How probable inputs are, given what the decoder put out for a code.

    Attributes:
        low: smallest output that the formula is defined for.
        high: largest such output.

    Args:
        hidden: width of the decoder's hidden layer.
    """

    low: ClassVar[float] = -inf
    high: ClassVar[float] = inf

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden

    @abstractmethod
    def forward(self, features: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """Negative log likelihoods in nats, summed over the features of a sample.

        Args:
            features: what the decoder's hidden layer gave, ``(N, hidden)``.
            outputs: the decoder's outputs, ``(N, ...)``.
            targets: inputs in [0, 1], of the shape of ``outputs``.

        Returns:
            One number a sample, ``(N,)``.
        """


class GaussianLikelihood(Likelihood):
    """``N(mu(h), sigma^2(h) I)``: outputs are means, and the decoder gives one variance a sample.

    Sivaslioglu, Catak and Gul (2020), section 5.5. The log variance is kept in (-10, 2), by a
    tanh: with no floor, samples that are reconstructed exactly would be infinitely probable. On
    the scale [0, 1] a standard deviation of exp(-5) is that of rounding to 1 of 43 levels.
    """

    LOG_VARIANCE = (-10.0, 2.0)

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)
        self.log_variance = nn.Linear(hidden, 1)

    def forward(self, features: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """``sum (log(2 pi) + log sigma^2 + (x - mu)^2 / sigma^2) / 2``, shapes as of the base."""
        log_variance = squashed(self.log_variance(features), *self.LOG_VARIANCE)
        squares = (targets - outputs).flatten(1).square()
        return 0.5 * (log(2 * pi) + log_variance + squares * torch.exp(-log_variance)).sum(dim=1)


class BernoulliLikelihood(Likelihood):
    """``prod mu^x (1 - mu)^(1 - x)`` with outputs mu in [0, 1], as in Kingma and Welling (2014).

    A probability for inputs of 0 and 1 alone; for those in between it is the usual cross entropy.
    """

    low = 0
    high = 1

    def forward(self, features: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
        """The cross entropies' sum, each logarithm bounded at -100; shapes as of the base."""
        entropies = F.binary_cross_entropy(outputs, targets, reduction="none")
        return entropies.flatten(1).sum(dim=1)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": GaussianLikelihood,
    "bernoulli": BernoulliLikelihood,
}


def squashed(x: Tensor, low: float, high: float) -> Tensor:
    """``x`` between ``low`` and ``high``: 0 goes to the middle, with slope 1."""
    middle, half = (low + high) / 2, (high - low) / 2
    return middle + half * torch.tanh(x / half)
