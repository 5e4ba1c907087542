"""The dense autoencoder of the source paper."""

from math import prod
from typing import Unpack

from torch import Tensor, nn

from lightning_modules.autoencoders.activations import ACTIVATIONS
from lightning_modules.autoencoders.base import Autoencoder, Options
from lightning_modules.errors import named


class VanillaAutoencoder(Autoencoder):
    """Dense layers d-hidden-latent-hidden-d, where d is the number of features of a sample.

    The layout of Sivaslioglu, Catak and Gul (2020), section 4. Their final choice, with outputs
    on a scale of their own, is::

        VanillaAutoencoder(
            (1, 28, 28),
            activations=("relu", "relu", "exponential", "softplus"),  # they cite ELU for the third
            loss="cce",
            output="raw",
        )

    Args:
        input_shape: shape of one sample, ``(C, H, W)`` or ``(d,)``.
        hidden: width of the two hidden layers.
        latent: width of the code.
        activations: one name from `ACTIVATIONS` for each of the four layers, inputs to outputs.
        **options: bounds, loss, output and learning_rate, as of `Autoencoder`.

    Raises:
        ValueError: not four activations, a width below 1, or what `Autoencoder` refuses.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        hidden: int = 504,
        latent: int = 28,
        activations: tuple[str, str, str, str] = ("relu", "relu", "elu", "sigmoid"),
        **options: Unpack[Options],
    ) -> None:
        if len(activations) != 4:
            raise ValueError(f"activations are {activations}: expected 4, one for each layer")
        if min(hidden, latent) < 1:
            raise ValueError(f"hidden={hidden}, latent={latent}: a layer is at least 1 wide")
        super().__init__(input_shape, output_activation=activations[-1], **options)
        features = prod(self.input_shape)
        first, second, third, last = (
            named(ACTIVATIONS, name, "activation").layer() for name in activations
        )
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(features, hidden),
            first,
            nn.Linear(hidden, latent),
            second,
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden),
            third,
            nn.Linear(hidden, features),
            last,
        )

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(N, latent)`` of inputs ``(N, *input_shape)`` in [0, 1]."""
        code: Tensor = self.encoder(x)
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Outputs ``(N, d)`` of the last activation."""
        outputs: Tensor = self.decoder(code)
        return outputs
