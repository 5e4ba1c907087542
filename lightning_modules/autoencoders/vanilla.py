"""The autoencoder without additions: inputs, code, and how far the outputs are from the inputs."""

from typing import Unpack

from torch import Tensor

from lightning_modules.autoencoders.activations import check_range
from lightning_modules.autoencoders.base import Activations, Autoencoder, Options
from lightning_modules.autoencoders.losses import LOSSES
from lightning_modules.batches import Batch
from lightning_modules.errors import named


class LossOptions(Options, total=False):
    """What a variant takes that minimises a reconstruction loss; see `VanillaAutoencoder`."""

    loss: str


class VanillaAutoencoder(Autoencoder):
    """An autoencoder that minimises a reconstruction loss and nothing else.

    The dense layout, d-hidden-latent-hidden-d, is that of Sivaslioglu, Catak and Gul (2020),
    section 4. Their final choice, with outputs on a scale of their own, is::

        VanillaAutoencoder(
            (1, 28, 28),
            activations=("relu", "relu", "exponential", "softplus"),  # they cite ELU for the third
            loss="cce",
            output="raw",
        )

    A variant that adds to it overrides `presented` or `penalties`.

    Args:
        input_shape: shape of one sample, ``(C, H, W)`` or ``(d,)``.
        hidden: width of the two hidden layers.
        latent: width of the code.
        activations: of encoder, code, decoder and outputs, as of `Autoencoder`.
        loss: name of the reconstruction loss, from `LOSSES`. It compares on the scale [0, 1],
            whatever the bounds.
        **options: network, bounds, output and learning_rate, as of `Autoencoder`.

    Raises:
        UnknownNameError: a loss that does not exist, or what `Autoencoder` does not know.
        ValueError: a loss that is not defined for the raw outputs of the last activation, or what
            `Autoencoder` refuses.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        hidden: int = 504,
        latent: int = 28,
        activations: Activations = ("relu", "relu", "elu", "sigmoid"),
        *,
        loss: str = "mse",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(input_shape, hidden, latent, activations, **options)
        self._loss = named(LOSSES, loss, "loss")
        if not self.bounded:
            check_range(
                f"loss {loss!r} on raw outputs", self._loss.low, self._loss.high, activations[3]
            )

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The reconstruction loss, and the penalties of a variant that has any."""
        x = self.unit_inputs(batch)
        code = self.encode(self.presented(x))
        reconstruction = self._loss.function(self.scaled(self.decode(code)), x)
        return {"reconstruction": reconstruction} | self.penalties(code)

    def presented(self, x: Tensor) -> Tensor:
        """What a loss shows the encoder of inputs ``(N, *input_shape)`` in [0, 1]: all of it."""
        return x

    def penalties(self, code: Tensor) -> dict[str, Tensor]:
        """Terms that codes ``(N, latent)`` add to the loss: none."""
        return {}
