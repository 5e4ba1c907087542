"""Classifiers to attack: softmax regression, the source paper's network, a small convnet."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.batches import check_inputs, sample_shape
from lightning_modules.extra import pl


class Classifier(pl.LightningModule):
    """Inputs to logits, trained with cross entropy and Adam.

    A subclass sets `network`, a module from ``(N, *input_shape)`` to logits ``(N, classes)``.

    Args:
        input_shape: shape of one sample, ``(C, H, W)`` or ``(d,)``.
        classes: number of classes, 2 or more.
        learning_rate: step size of Adam.

    Raises:
        ValueError: an empty shape, or fewer than 2 classes.
    """

    network: nn.Module

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, *, learning_rate: float = 1e-3
    ) -> None:
        super().__init__()
        # Also gathers the arguments of the subclass whose constructor called this one.
        self.save_hyperparameters()
        if classes < 2:
            raise ValueError(f"classes={classes}: a classifier tells 2 or more apart")
        self.input_shape = sample_shape(input_shape)
        self.classes = classes
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of inputs ``(N, *input_shape)``.

        Raises:
            ValueError: ``x`` has another shape.
        """
        check_inputs(x, self.input_shape)
        logits: Tensor = self.network(x)
        return logits

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Mean cross entropy of a batch; logs ``train_loss`` and ``train_accuracy``."""
        return self._step(batch, "train")

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Mean cross entropy of a batch; logs ``val_loss`` and ``val_accuracy``."""
        return self._step(batch, "val")

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Mean cross entropy of a batch; logs ``test_loss`` and ``test_accuracy``."""
        return self._step(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam (Kingma and Ba, 2015) with its default moments."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def _step(self, batch: Sequence[Tensor], stage: str) -> Tensor:
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        accuracy = (logits.argmax(dim=1) == y).float().mean()
        metrics = {f"{stage}_loss": loss, f"{stage}_accuracy": accuracy}
        self.log_dict(metrics, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(x))
        return loss


class SoftmaxRegression(Classifier):
    """Multi-class logistic regression: one linear layer on the flattened input.

    Arguments and errors are those of `Classifier`.
    """

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, *, learning_rate: float = 1e-3
    ) -> None:
        super().__init__(input_shape, classes, learning_rate=learning_rate)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(prod(self.input_shape), classes))


class PaperNetwork(Classifier):
    """Dense layers d-504-28-504-classes with ReLU, the autoencoder's shape used as a classifier.

    From Sivaslioglu, Catak and Gul (2020), section 5. Arguments and errors are those of
    `Classifier`.
    """

    WIDTHS = (504, 28, 504)

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, *, learning_rate: float = 1e-3
    ) -> None:
        super().__init__(input_shape, classes, learning_rate=learning_rate)
        sizes = (prod(self.input_shape), *self.WIDTHS)
        hidden = (
            nn.Sequential(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(sizes)
        )
        self.network = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], classes))


class ConvNet(Classifier):
    """Two 5x5 convolutions, each with ReLU and 2x2 max pooling, then 128 hidden units.

    After LeNet-5 (LeCun et al., 1998), with more channels and none of its subsampling tables.

    Args:
        input_shape: ``(C, H, W)`` with H and W of 4 or more.
        classes: number of classes, 2 or more.
        channels: channels of the first and of the second convolution.
        learning_rate: step size of Adam.

    Raises:
        ValueError: the input is no image or too small to be pooled twice, or what `Classifier`
            refuses.
    """

    HIDDEN = 128

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: int,
        channels: tuple[int, int] = (32, 64),
        *,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__(input_shape, classes, learning_rate=learning_rate)
        if len(self.input_shape) != 3 or min(self.input_shape[1:]) < 4:
            raise ValueError(f"input_shape is {self.input_shape}: expected (C, H, W), H and W >= 4")
        depth, height, width = self.input_shape
        first, second = channels
        self.network = nn.Sequential(
            _convolution(depth, first),
            _convolution(first, second),
            nn.Flatten(),
            nn.Linear(second * (height // 4) * (width // 4), self.HIDDEN),
            nn.ReLU(),
            nn.Linear(self.HIDDEN, classes),
        )


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
