"""The model that every commit is guarded against making worse."""

from pathlib import Path

import pytest

from lightning_modules import Digits, PaperNetwork, fit_or_load

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
    return fit_or_load(lambda: PaperNetwork((1, 8, 8), 10), digits, folder=MODELS, max_epochs=40)
