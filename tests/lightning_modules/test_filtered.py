"""Data behind a filter: what a classifier that stands there is trained on."""

import pytest
import torch
from torch import nn

from lightning_modules import Digits, PaperNetwork, VanillaAutoencoder, fit_or_load
from lightning_modules.filtered import Filtered


class Dark(nn.Module):
    """Halves every pixel; in train mode it also adds noise."""

    def __init__(self, factor=0.5):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.noise = nn.Dropout(0.5)

    def forward(self, x):
        return self.factor * self.noise(x)


@pytest.fixture
def digits():
    return Digits(batch_size=256, seed=3)


def test_every_set_went_through_the_filter(digits):
    """Training, validation and test images are the filter's outputs in eval mode, labels kept."""
    behind = Filtered(digits, Dark())
    for mine, theirs in (
        (behind.training_arrays(), digits.training_arrays()),
        (behind.test_arrays(), digits.test_arrays()),
    ):
        assert torch.equal(mine[0], theirs[0] / 2)
        assert torch.equal(mine[1], theirs[1])
    batches = zip(behind.val_dataloader(), digits.val_dataloader(), strict=True)
    assert all(torch.equal(mine[0], theirs[0] / 2) for mine, theirs in batches)


def test_batches_come_in_the_order_of_the_data(digits):
    """Shuffling follows the data module's own seed, so that only the filter differs."""
    behind = Filtered(digits, Dark())
    behind.setup("fit")
    digits.setup("fit")
    pairs = zip(behind.train_dataloader(), digits.train_dataloader(), strict=True)
    assert all(torch.equal(mine[1], theirs[1]) for mine, theirs in pairs)


def test_the_filter_comes_back_in_its_modes(digits):
    """A filter in train mode, with one part in eval mode, is given back so."""
    dark = Dark().train()
    dark.noise.eval()
    Filtered(digits, dark).test_arrays()
    assert (dark.training, dark.noise.training) == (True, False)


def test_shape_classes_and_bounds_are_the_datas(digits):
    """A model is shaped by it as by the data itself."""
    behind = Filtered(digits, Dark())
    assert behind.input_shape == digits.input_shape
    assert (behind.classes, behind.bounds) == (digits.classes, digits.bounds)


def test_another_filter_trains_another_classifier(digits, tmp_path):
    """The checkpoint's key holds the filter's weights: the same loads, another trains anew."""

    def network(factor):
        fit_or_load(
            lambda: PaperNetwork((1, 8, 8), 10),
            Filtered(digits, Dark(factor)),
            folder=tmp_path,
            max_epochs=1,
        )
        return len(list(tmp_path.glob("*.pt")))

    assert [network(0.5), network(0.5), network(0.6)] == [1, 1, 2]


def test_a_trained_autoencoder_is_a_filter(digits, tmp_path):
    """A classifier behind a trained autoencoder learns from its reconstructions."""
    filter = fit_or_load(
        lambda: VanillaAutoencoder((1, 8, 8)), digits, folder=tmp_path, max_epochs=2
    )
    inputs, _ = Filtered(digits, filter).test_arrays()
    assert torch.allclose(inputs, filter(digits.test_arrays()[0]))
    assert not inputs.requires_grad
