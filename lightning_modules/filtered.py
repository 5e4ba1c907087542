"""Data as a filter puts it out, for a classifier that is trained behind that filter."""

import torch
from torch import Tensor, nn

from lightning_modules.datasets import Images, Samples
from lightning_modules.fingerprint import sources, weights_digest

# Samples that go through the filter at a time.
_CHUNK = 1024


class Filtered(Images):
    """A data module's images, each replaced by what a trained filter makes of it.

    The filter runs once over each set, in eval mode and without gradients, and comes back in the
    mode that it was in. Hyperparameters hold its weights' digest and its code's, so that
    `fit_or_load` trains anew behind another filter. Outputs of a filter with ``output="raw"`` lie
    outside `bounds`.

    Args:
        data: gives the images; batch size, seed and splits are its own.
        filter: from images ``(N, C, H, W)`` to outputs of the same shape, on any scale.
    """

    described = ("data", "filter")

    def __init__(self, data: Images, filter: nn.Module) -> None:
        super().__init__(data.batch_size, data.seed)
        classes = {cls for part in filter.modules() for cls in type(part).__mro__}
        told = {
            "data": {"class": type(data).__qualname__, **data.hparams},
            "filter": {
                "class": type(filter).__qualname__,
                "weights": weights_digest(filter.state_dict()),
                "code": sources(classes),
            },
        }
        self.save_hyperparameters(told)
        self.input_shape, self.classes, self.bounds = data.input_shape, data.classes, data.bounds
        self._data, self._filter = data, filter

    def prepare_data(self) -> None:
        """Have the images on this machine."""
        self._data.prepare_data()

    def training_samples(self) -> tuple[Samples, Samples]:
        """What the filter makes of the training and the validation set."""
        train, val = self._data.training_samples()
        return self._through(train), self._through(val)

    def test_samples(self) -> Samples:
        """What the filter makes of the test set."""
        return self._through(self._data.test_samples())

    def _through(self, samples: Samples) -> Samples:
        images, labels = samples.arrays()
        return Samples(_outputs(self._filter, images), labels, 1.0)


def _outputs(filter: nn.Module, images: Tensor) -> Tensor:
    modes = [(part, part.training) for part in filter.modules()]
    try:
        filter.eval()
        with torch.no_grad():
            return torch.cat([filter(chunk) for chunk in torch.split(images, _CHUNK)])
    finally:
        for part, training in modes:
            part.training = training
