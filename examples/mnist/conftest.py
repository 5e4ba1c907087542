"""The source paper's setting on the real MNIST: its network, its autoencoder, its 35 epochs.

The first run trains both, some minutes on two cores; the next ones load them.
"""

from pathlib import Path

import pytest

from lightning_modules import MNIST, PaperNetwork, VanillaAutoencoder, fit_or_load

MODELS = Path(__file__).parent / ".models"
EPOCHS = 35


@pytest.fixture(scope="session")
def mnist():
    """Training in batches of 1,024, as in the paper."""
    return MNIST(batch_size=1024)


@pytest.fixture(scope="session")
def aerobust_data(mnist):
    """All 10,000 test images."""
    mnist.prepare_data()
    return mnist.test_arrays()


@pytest.fixture(scope="session")
def aerobust_model(mnist):
    """Dense layers 784-504-28-504-10."""
    return fit_or_load(
        lambda: PaperNetwork((1, 28, 28), 10), mnist, folder=MODELS, max_epochs=EPOCHS
    )


@pytest.fixture(scope="session")
def aerobust_filter(mnist):
    """Dense layers 784-504-28-504-784, trained on the mean squared error."""
    return fit_or_load(
        lambda: VanillaAutoencoder((1, 28, 28)), mnist, folder=MODELS, max_epochs=EPOCHS
    )
