"""What every autoencoder shares: shapes, bounds, scale, losses, steps and the optimiser."""

from abc import ABC, abstractmethod
from math import isfinite
from typing import Literal, TypedDict

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_modules.autoencoders.activations import ACTIVATIONS, Activation
from lightning_modules.autoencoders.losses import LOSSES, ReconstructionLoss
from lightning_modules.batches import Batch, check_inputs, inputs_of, sample_shape
from lightning_modules.errors import named

_OUTPUTS = {"bounded": True, "raw": False}


class Options(TypedDict, total=False):
    """What every variant takes beside its own layers; see `Autoencoder`."""

    bounds: tuple[float, float]
    loss: str
    output: Literal["bounded", "raw"]
    learning_rate: float


class Autoencoder(pl.LightningModule, ABC):
    """Inputs to inputs of the same shape, by way of a latent code.

    A variant builds its layers, writes `encode` and `decode`, and may override `loss_terms`.
    The base brings inputs to [0, 1] before `encode` and outputs back into `bounds` after
    `decode`, so that a filter never changes the scale of the data unseen:

    - The output activation has a finite range (sigmoid, tanh, softsign): an affine map takes that
      range to the bounds.
    - It has none (relu, softplus, ...): each sample is stretched, its smallest output to the
      lower bound and its largest to the upper one. A clamp would cut gradients off instead, and
      a filter that hides gradients looks robust without being so. A constant output goes to the
      lower bound.

    Args:
        input_shape: shape of one sample, ``(C, H, W)`` or ``(d,)``.
        output_activation: name of the activation that `decode` ends with, from `ACTIVATIONS`.
        bounds: smallest and largest value of the data, in the units of the data.
        loss: name of the reconstruction loss, from `LOSSES`.
        output: ``"bounded"`` as above; ``"raw"`` leaves the decoder's outputs as they are, on
            whatever scale (as in Sivaslioglu, Catak and Gul, 2020).
        learning_rate: step size of Adam.

    Raises:
        UnknownNameError: an activation, loss or output that does not exist.
        ValueError: an empty shape, bounds that aren't finite and rising, or a loss that is not
            defined for the raw outputs of the activation.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        *,
        output_activation: str,
        bounds: tuple[float, float] = (0.0, 1.0),
        loss: str = "mse",
        output: Literal["bounded", "raw"] = "bounded",
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        # Also gathers the arguments of the variant whose constructor called this one.
        self.save_hyperparameters(ignore=["output_activation"])
        self.input_shape = sample_shape(input_shape)
        self.bounds = _rising(bounds)
        self.learning_rate = learning_rate
        self._bounded = named(_OUTPUTS, output, "output")
        self._range = named(ACTIVATIONS, output_activation, "activation")
        self._loss = named(LOSSES, loss, "loss")
        if not self._bounded:
            _check_defined(self._loss, loss, self._range, output_activation)

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Codes of inputs ``(N, *input_shape)`` that were brought to [0, 1] (see `to_unit`)."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """Outputs of the last activation, as many numbers per sample as an input has."""

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions.

        Args:
            x: inputs ``(N, *input_shape)`` in the units of `bounds`.

        Returns:
            Outputs of the shape of ``x``, inside `bounds` (unless ``output="raw"``).

        Raises:
            ValueError: ``x`` has another shape.
        """
        check_inputs(x, self.input_shape)
        outputs = self._scaled(self.decode(self.encode(self.to_unit(x)))).reshape(x.shape)
        return self._from_unit(outputs) if self._bounded else outputs

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The named terms, each a scalar, whose sum is minimised."""
        x = inputs_of(batch)
        decoded = self.decode(self.encode(self.to_unit(x)))
        return {"reconstruction": self.reconstruction_loss(decoded, x)}

    def reconstruction_loss(self, decoded: Tensor, x: Tensor) -> Tensor:
        """The loss chosen by name, between what `decode` gave and inputs in the data's units.

        ``x`` and (unless raw) the decoded outputs are compared on the scale [0, 1], whatever the
        bounds.
        """
        return self._loss.function(self._scaled(decoded).reshape(x.shape), self.to_unit(x))

    def to_unit(self, x: Tensor) -> Tensor:
        """Inputs in the units of `bounds`, brought to [0, 1]."""
        low, high = self.bounds
        return (x - low) / (high - low)

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
        total = torch.stack(list(terms.values())).sum()
        logged = {f"{stage}_{name}": term for name, term in terms.items()}
        size = len(inputs_of(batch))
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=size)
        self.log(
            f"{stage}_loss", total, on_step=False, on_epoch=True, prog_bar=True, batch_size=size
        )
        return total

    def _scaled(self, decoded: Tensor) -> Tensor:
        """Decoded outputs on the scale [0, 1], or as they are where raw ones were asked for."""
        if not self._bounded:
            return decoded
        if self._range.finite:
            return (decoded - self._range.low) / (self._range.high - self._range.low)
        return _stretched(decoded)

    def _from_unit(self, outputs: Tensor) -> Tensor:
        # lerp is exact at both ends; low + (high - low) * 1 can exceed `high` by a rounding.
        low, high = (outputs.new_tensor(bound) for bound in self.bounds)
        return torch.lerp(low, high, outputs)


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


def _check_defined(loss: ReconstructionLoss, name: str, last: Activation, activation: str) -> None:
    if not last.within(loss.low, loss.high):
        raise ValueError(
            f"loss {name!r} needs outputs in [{loss.low:g}, {loss.high:g}], but the raw outputs of "
            f"{activation!r} span [{last.low:g}, {last.high:g}]: take output='bounded', loss='mse' "
            "or another last activation"
        )
