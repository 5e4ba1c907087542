"""A filter that holds: an autoencoder trained in front of the frozen, undefended convnet.

It lies beside `models.py` and not in it, since what is written there is part of what the kept
checkpoints of its models are known by.
"""

from collections.abc import Sequence

import torch
from models import EPS, FOLDER, RobustConvNet, undefended
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules import MNIST, fit_or_load


class FilteredConvNet(RobustConvNet):
    """A convolutional autoencoder and a classifier behind it; the autoencoder alone learns.

    It is trained on PGD examples crafted through both, on the cross entropy of the whole and on
    the squared distance between what the filter makes of an example and the clean image.
    """

    SIMILARITY = 2.0

    def __init__(self) -> None:
        super().__init__((1, 28, 28), 10)
        first, second = 16, 32
        self.filter = nn.Sequential(
            nn.Conv2d(1, first, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(second, first, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(first, 1, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )
        self.classifier = undefended()
        self.network = nn.Sequential(self.filter, self.classifier)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        inputs, labels = batch
        ramp = 2 * self.trainer.global_step / self.trainer.estimated_stepping_batches
        seen = self.filter(self._attacked(inputs, labels, EPS * min(1.0, max(ramp, 0.01))))
        wrong = F.cross_entropy(self.classifier(seen), labels)
        return wrong + self.SIMILARITY * F.mse_loss(seen, inputs)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the filter; the classifier stays as it is."""
        return torch.optim.Adam(self.filter.parameters(), lr=self.learning_rate)


def filtered() -> FilteredConvNet:
    """About 0.98 clean and 0.89 at eps 0.3, attacked through both."""
    return fit_or_load(FilteredConvNet, MNIST(), folder=FOLDER, max_epochs=4, progress=True)
