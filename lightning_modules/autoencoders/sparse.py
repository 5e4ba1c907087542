"""The sparse autoencoder: few units of the code active at once."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Unpack

import torch
from torch import Tensor

from lightning_modules.autoencoders.activations import check_range
from lightning_modules.autoencoders.base import Activations
from lightning_modules.autoencoders.vanilla import LossOptions, VanillaAutoencoder
from lightning_modules.errors import named

# A unit that is on (or off) for a whole batch, rounded: its divergence stays finite.
_SMALLEST_MEAN = 1e-6


def kl_sparsity(code: Tensor, rho: float) -> Tensor:
    """``sum_j KL(rho || mean_j)``, between Bernoulli variables, over the units j of the code.

    ``KL(rho || m) = rho log(rho / m) + (1 - rho) log((1 - rho) / (1 - m))``, where m is a unit's
    mean over the batch, as in Sivaslioglu, Catak and Gul (2020), section 5.3. Zero where every
    mean is ``rho``. Means are kept 1e-6 away from 0 and 1.

    Args:
        code: activations ``(N, latent)`` in [0, 1].
        rho: the mean that is wanted, in (0, 1).

    Returns:
        A scalar in nats, 0 or more.
    """
    mean = code.mean(dim=0).clamp(_SMALLEST_MEAN, 1 - _SMALLEST_MEAN)
    on = rho * torch.log(rho / mean)
    off = (1 - rho) * torch.log((1 - rho) / (1 - mean))
    return (on + off).sum()


def l1_sparsity(code: Tensor, rho: float) -> Tensor:
    """``sum_j |h_j|`` over the units of the code ``(N, latent)``, mean over samples.

    The alternative in Sivaslioglu, Catak and Gul (2020), section 5.3; ``rho`` is not looked at.
    """
    return code.abs().sum(dim=1).mean()


@dataclass(frozen=True)
class Penalty:
    """One row of `PENALTIES`.

    Attributes:
        function: ``(code, rho) -> scalar``.
        low: smallest activation that the formula is defined for.
        high: largest such activation.
    """

    function: Callable[[Tensor, float], Tensor]
    low: float = -inf
    high: float = inf


PENALTIES: dict[str, Penalty] = {
    "kl": Penalty(kl_sparsity, low=0, high=1),
    "l1": Penalty(l1_sparsity),
}


class SparseAutoencoder(VanillaAutoencoder):
    """A vanilla autoencoder with a penalty on the activations of its code.

    The penalty sees the code alone, not the hidden layers on either side of it: the code is what
    the paper's ``h`` is decoded from. With ``weight=0`` it trains the weights of a
    `VanillaAutoencoder` of the same arguments.

    The divergence is defined for activations in [0, 1] only, so that its code is a sigmoid by
    default; with an unbounded activation such as ReLU it is refused, as a mean above 1 would be
    driven anywhere. ``penalty="l1"`` takes any activation.

    Args:
        input_shape: shape of one sample, ``(C, H, W)`` or ``(d,)``.
        hidden: width of the two hidden layers.
        latent: width of the code.
        activations: of encoder, code, decoder and outputs, as of `Autoencoder`.
        penalty: name from `PENALTIES`: ``"kl"`` (`kl_sparsity`) or ``"l1"`` (`l1_sparsity`).
        weight: what the penalty is multiplied by, 0 or more.
        rho: mean activation that ``"kl"`` asks of each unit, in (0, 1); ``"l1"`` ignores it.
        **options: loss, network, bounds, output and learning_rate, as of `VanillaAutoencoder`.

    Raises:
        UnknownNameError: a penalty that does not exist, or what `VanillaAutoencoder` does not
            know.
        ValueError: a code's activation that leaves [0, 1] with ``"kl"``, a weight that is
            negative or not finite, a ``rho`` outside (0, 1), or what `VanillaAutoencoder` refuses.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        hidden: int = 504,
        latent: int = 28,
        activations: Activations = ("relu", "sigmoid", "elu", "sigmoid"),
        *,
        penalty: str = "kl",
        weight: float = 1e-3,
        rho: float = 0.05,
        **options: Unpack[LossOptions],
    ) -> None:
        super().__init__(input_shape, hidden, latent, activations, **options)
        if not 0 <= weight < inf:
            raise ValueError(f"weight={weight}: expected a finite number, 0 or more")
        if not 0 < rho < 1:
            raise ValueError(f"rho={rho}: expected a mean activation between 0 and 1")
        self.weight = weight
        self.rho = rho
        self._penalty = named(PENALTIES, penalty, "penalty")
        check_range(f"penalty {penalty!r}", self._penalty.low, self._penalty.high, activations[1])

    def penalties(self, code: Tensor) -> dict[str, Tensor]:
        """The weighted penalty, as ``sparsity``."""
        return {"sparsity": self.weight * self._penalty.function(code, self.rho)}
