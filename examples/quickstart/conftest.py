"""The model under test, its data, and the autoencoder that filters its inputs."""

from pathlib import Path

import pytest

from lightning_modules import Digits, PaperNetwork, VanillaAutoencoder, fit_or_load

MODELS = Path(__file__).parent / ".models"


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's bundled digits, 8 x 8 pixels in [0, 1]; nothing is downloaded."""
    return Digits()


@pytest.fixture(scope="session")
def aerobust_data(digits):
    return digits.test_arrays()


@pytest.fixture(scope="session")
def aerobust_model(digits):
    """Trained in the first run, loaded in the next ones."""
    return fit_or_load(lambda: PaperNetwork((1, 8, 8), 10), digits, folder=MODELS, max_epochs=40)


@pytest.fixture(scope="session")
def aerobust_filter(digits):
    return fit_or_load(lambda: VanillaAutoencoder((1, 8, 8)), digits, folder=MODELS, max_epochs=60)
