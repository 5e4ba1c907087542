"""What every autoencoder shares: network, shapes, bounds, scale, steps and the optimiser."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import isfinite
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from lightning_modules.autoencoders.activations import ACTIVATIONS
from lightning_modules.autoencoders.networks import NETWORKS
from lightning_modules.batches import Batch, check_inputs, inputs_of, sample_shape
from lightning_modules.errors import named
from lightning_modules.extra import pl

_OUTPUTS = {"bounded": True, "raw": False}

Activations = tuple[str, str, str, str]
"""Names from `ACTIVATIONS`: of the encoder, the code, the decoder and the outputs."""


class Options(TypedDict, total=False):
    """What every variant takes beside sizes and activations; see `Autoencoder`."""

    network: str
    bounds: tuple[float, float]
    output: Literal["bounded", "raw"]
    learning_rate: float


class Autoencoder(pl.LightningModule, ABC):
    """Inputs to inputs of the same shape, by way of a latent code.

    Layers lead from inputs to ``hidden`` units, to the code, to ``hidden`` units, to outputs. A
    variant writes `loss_terms`, or overrides a hook of a variant that has it. The base brings
    inputs to [0, 1] before `encode` and outputs back into `bounds` after `decode`, so that a
    filter never changes the scale of the data unseen:

    - The output activation has a finite range (sigmoid, tanh, softsign): an affine map takes that
      range to the bounds.
    - It has none (relu, softplus, ...): each sample is stretched, its smallest output to the
      lower bound and its largest to the upper one. A clamp would cut gradients off instead, and
      a filter that hides gradients looks robust without being so. A constant output goes to the
      lower bound.

    Attributes:
        encoder_body: from inputs ``(N, *input_shape)`` in [0, 1] to ``(N, hidden)``.
        code_layer: from there to codes ``(N, latent)``.
        decoder_body: from codes to ``(N, hidden)``.
        output_layer: from there to outputs ``(N, *input_shape)``.
        history: what each epoch logged, from names to one number an epoch; on modules that
            `lightning_modules.fit_or_load` gave.

    Args:
        input_shape: shape of one sample, ``(C, H, W)`` or ``(d,)``.
        hidden: width of the dense layer on either side of the code, 1 or more.
        latent: width of the code, 1 or more.
        activations: four names from `ACTIVATIONS`: of the layers before the code, of the code, of
            the layers behind it, of the outputs.
        network: name from `NETWORKS`; ``"dense"`` takes any shape, ``"convolutional"`` images.
        bounds: smallest and largest value of the data, in the units of the data.
        output: ``"bounded"`` as above; ``"raw"`` leaves the decoder's outputs as they are, on
            whatever scale (as in Sivaslioglu, Catak and Gul, 2020).
        learning_rate: step size of Adam.

    Raises:
        UnknownNameError: an activation, network or output that does not exist.
        ValueError: an empty shape or one that the network does not take, not four activations, a
            width below 1, or bounds that aren't finite and rising.
    """

    history: dict[str, list[float]]

    def __init__(
        self,
        input_shape: tuple[int, ...],
        hidden: int,
        latent: int,
        activations: Activations,
        *,
        network: str = "dense",
        bounds: tuple[float, float] = (0.0, 1.0),
        output: Literal["bounded", "raw"] = "bounded",
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        # Also gathers the arguments of the variant whose constructor called this one.
        self.save_hyperparameters()
        if len(activations) != 4:
            raise ValueError(
                f"activations are {activations}: expected 4, of encoder, code, decoder and outputs"
            )
        if min(hidden, latent) < 1:
            raise ValueError(f"hidden={hidden}, latent={latent}: a layer is at least 1 wide")
        self.input_shape = sample_shape(input_shape)
        self.latent = latent
        self.bounds = _rising(bounds)
        self.learning_rate = learning_rate
        self.bounded = named(_OUTPUTS, output, "output")
        before, code, behind, last = (
            named(ACTIVATIONS, name, "activation") for name in activations
        )
        self._range = last
        layers = named(NETWORKS, network, "network")
        self.encoder_body = layers.encoder(self.input_shape, hidden, before.layer)
        self.code_layer = nn.Sequential(nn.Linear(hidden, latent), code.layer())
        self.decoder_body = nn.Sequential(nn.Linear(latent, hidden), behind.layer())
        self.output_layer = nn.Sequential(
            layers.decoder(self.input_shape, hidden, behind.layer), last.layer()
        )

    @abstractmethod
    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The named terms, each a scalar, whose sum is minimised."""

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions.

        Args:
            x: inputs ``(N, *input_shape)`` in the units of `bounds`.

        Returns:
            Outputs of the shape of ``x``, inside `bounds` (unless ``output="raw"``).

        Raises:
            ValueError: ``x`` has another shape.
        """
        return self.render(self.code(self.unit_inputs(x)))

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(N, latent)`` of inputs ``(N, *input_shape)`` in [0, 1] (see `unit_inputs`)."""
        code: Tensor = self.code_layer(self.encoder_body(x))
        return code

    def code(self, x: Tensor) -> Tensor:
        """The codes that `forward` decodes: those of `encode`, unless a variant draws them."""
        return self.encode(x)

    def decode(self, code: Tensor) -> Tensor:
        """Outputs ``(N, *input_shape)`` of the last activation, from codes ``(N, latent)``."""
        outputs: Tensor = self.output_layer(self.decoder_body(code))
        return outputs

    def render(self, code: Tensor) -> Tensor:
        """Samples ``(N, *input_shape)`` in `bounds` (unless ``output="raw"``) from codes."""
        outputs = self.scaled(self.decode(code))
        return self._from_unit(outputs) if self.bounded else outputs

    def unit_inputs(self, batch: Batch) -> Tensor:
        """The inputs of a batch in the units of `bounds`, brought to [0, 1].

        Raises:
            ValueError: they aren't ``(N, *input_shape)``.
        """
        x = inputs_of(batch)
        check_inputs(x, self.input_shape)
        low, high = self.bounds
        return (x - low) / (high - low)

    def scaled(self, decoded: Tensor) -> Tensor:
        """Decoded outputs on the scale [0, 1], or as they are where raw ones were asked for."""
        if not self.bounded:
            return decoded
        if self._range.finite:
            return (decoded - self._range.low) / (self._range.high - self._range.low)
        return _stretched(decoded)

    def logged(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is logged of a step beside the loss: its terms, unless a variant adds to them."""
        return dict(terms)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch; logs ``train_loss`` and each term as ``train_<term>``."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch; logs ``val_loss`` and each term as ``val_<term>``."""
        return self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch; logs ``test_loss`` and each term as ``test_<term>``."""
        return self._step(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam (Kingma and Ba, 2015) with its default moments."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def _step(self, batch: Batch, stage: str) -> Tensor:
        terms = self.loss_terms(batch)
        loss = total(terms)
        logged = {f"{stage}_{name}": value for name, value in self.logged(terms).items()}
        size = len(inputs_of(batch))
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=size)
        self.log(
            f"{stage}_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size
        )
        return loss

    def _from_unit(self, outputs: Tensor) -> Tensor:
        # lerp is exact at both ends; low + (high - low) * 1 can exceed `high` by a rounding.
        low, high = (outputs.new_tensor(bound) for bound in self.bounds)
        return torch.lerp(low, high, outputs)


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of scalar terms."""
    return torch.stack(list(terms.values())).sum()


def _stretched(outputs: Tensor) -> Tensor:
    """Each sample's smallest number to 0 and its largest to 1, affinely.

    A span below the rounding of a number near 1 is divided by that rounding instead: gradients
    stay finite for an output that is constant.
    """
    features = tuple(range(1, outputs.ndim))
    low, high = outputs.amin(features, keepdim=True), outputs.amax(features, keepdim=True)
    span = (high - low).clamp_min(torch.finfo(outputs.dtype).eps)
    return (outputs - low) / span


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = (float(bound) for bound in bounds)
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError(f"bounds are ({low}, {high}): expected two finite numbers, lower first")
    return low, high
