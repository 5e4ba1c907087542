"""The denoising autoencoder: clean inputs from corrupted ones."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Unpack

import torch
from torch import Tensor

from lightning_modules.autoencoders.base import Activations
from lightning_modules.autoencoders.vanilla import LossOptions, VanillaAutoencoder
from lightning_modules.errors import named


def gaussian(x: Tensor, strength: float) -> Tensor:
    """``x + strength * n`` with n standard normal for each number; it may leave [0, 1]."""
    return x + strength * torch.randn_like(x)


def masking(x: Tensor, strength: float) -> Tensor:
    """Each number 0 with probability ``strength``, independently of the others."""
    return torch.where(torch.rand_like(x) < strength, torch.zeros_like(x), x)


def salt_and_pepper(x: Tensor, strength: float) -> Tensor:
    """Each number 0 or 1, either with probability ``strength / 2``, independently."""
    drawn = torch.rand_like(x)
    extreme = (drawn < strength / 2).to(x.dtype)
    return torch.where(drawn < strength, extreme, x)


@dataclass(frozen=True)
class Corruption:
    """One row of `CORRUPTIONS`.

    Attributes:
        function: ``(x, strength) -> corrupted``, on inputs ``(N, ...)`` in [0, 1].
        largest: the largest strength that means something.
    """

    function: Callable[[Tensor, float], Tensor]
    largest: float = inf


# Those of Vincent et al., "Stacked Denoising Autoencoders" (2010), section 3.3.
CORRUPTIONS: dict[str, Corruption] = {
    "gaussian": Corruption(gaussian),
    "masking": Corruption(masking, largest=1),
    "salt-and-pepper": Corruption(salt_and_pepper, largest=1),
}


class DenoisingAutoencoder(VanillaAutoencoder):
    """A vanilla autoencoder whose losses show the encoder ``x~ ~ q(x~|x)`` and expect ``x`` back.

    Sivaslioglu, Catak and Gul (2020), section 5.4, after Vincent et al. (2008, 2010). Inputs are
    corrupted on the scale [0, 1], whatever the bounds, and in every loss: those of validation and
    test too, which measure what is trained for. `forward` corrupts nothing, in any mode. With
    ``strength=0`` no random number is drawn, and it trains the weights of a `VanillaAutoencoder`
    of the same arguments.

    Args:
        input_shape: shape of one sample, ``(C, H, W)`` or ``(d,)``.
        hidden: width of the two hidden layers.
        latent: width of the code.
        activations: of encoder, code, decoder and outputs, as of `Autoencoder`.
        corruption: name from `CORRUPTIONS`: ``"gaussian"``, ``"masking"`` or
            ``"salt-and-pepper"``.
        strength: standard deviation of the Gaussian noise on the scale [0, 1], or the share of
            numbers that the others replace; 0 or more.
        **options: loss, network, bounds, output and learning_rate, as of `VanillaAutoencoder`.

    Raises:
        UnknownNameError: a corruption that does not exist, or what `VanillaAutoencoder` does not
            know.
        ValueError: a strength that is negative, not finite, or a share above 1, or what
            `VanillaAutoencoder` refuses.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        hidden: int = 504,
        latent: int = 28,
        activations: Activations = ("relu", "relu", "elu", "sigmoid"),
        *,
        corruption: str = "gaussian",
        strength: float = 0.3,
        **options: Unpack[LossOptions],
    ) -> None:
        super().__init__(input_shape, hidden, latent, activations, **options)
        self._corruption = named(CORRUPTIONS, corruption, "corruption")
        self.strength = strength
        if not (0 <= strength <= self._corruption.largest and strength < inf):
            raise ValueError(
                f"strength={strength}: corruption {corruption!r} takes a finite number from 0 to "
                f"{self._corruption.largest:g}"
            )

    def presented(self, x: Tensor) -> Tensor:
        """Inputs ``(N, *input_shape)`` in [0, 1], corrupted."""
        return self._corruption.function(x, self.strength) if self.strength else x
