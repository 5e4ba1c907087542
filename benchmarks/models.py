"""The two convnets that the benchmarks measure on: one undefended, one adversarially trained.

``python benchmarks/train.py`` trains both; the checkpoints are kept in ``benchmarks/.models``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_modules import MNIST, ConvNet, fit_or_load
from pytest_aerobust.attacks.gradient import LinfPGD
from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.subjects.box import Box

FOLDER = Path(__file__).parent / ".models"
EPS = 0.3
CHANNELS = (16, 32)


class Unwatched:
    """Watches a search and lets nobody retire: training wants hard examples."""

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        return torch.zeros_like(rows, dtype=torch.bool)

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        """Nothing to learn from them here."""

    def saw_answers(self, rows: Tensor) -> None:
        """Nobody counts them here."""


class RobustConvNet(ConvNet):
    """A convnet trained on PGD examples of itself, the budget ramped up over the first half.

    Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks".
    """

    STEPS = 3

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        inputs, labels = batch
        ramp = 2 * self.trainer.global_step / self.trainer.estimated_stepping_batches
        eps = EPS * min(1.0, max(ramp, 0.01))
        return super().training_step((self._attacked(inputs, labels, eps), labels), batch_idx)

    def _attacked(self, inputs: Tensor, labels: Tensor, eps: float) -> Tensor:
        numbers = np.arange(len(inputs))
        problem = Problem(
            ask=self,
            gradient=lambda loss, x: torch.autograd.grad(loss, x)[0],
            inputs=inputs,
            labels=labels,
            targets=None,
            eps=eps,
            bounds=Box.of((0.0, 1.0)),
            places=numbers,
            samples=numbers,
            seed=self.trainer.global_step,
        )
        self.requires_grad_(False)
        (examples,) = LinfPGD(steps=self.STEPS, rel_stepsize=0.5).search(problem, Unwatched())
        self.requires_grad_(True)
        return examples


def undefended() -> ConvNet:
    """About 0.99 clean and nothing at eps 0.3."""
    return fit_or_load(
        lambda: ConvNet((1, 28, 28), 10, channels=CHANNELS),
        MNIST(),
        folder=FOLDER,
        max_epochs=2,
        progress=True,
    )


def robust() -> RobustConvNet:
    """About 0.97 clean and 0.85 at eps 0.3."""
    return fit_or_load(
        lambda: RobustConvNet((1, 28, 28), 10, channels=CHANNELS),
        MNIST(),
        folder=FOLDER,
        max_epochs=5,
        progress=True,
    )


def test_images(count: int) -> tuple[Tensor, Tensor]:
    """The first `count` test images of MNIST and their labels."""
    data = MNIST()
    data.prepare_data()
    inputs, labels = data.test_arrays()
    return inputs[:count], labels[:count]
