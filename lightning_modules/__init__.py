"""Autoencoders to filter with, classifiers to attack, data to do it on, as Lightning modules.

Stands alone: nothing here knows the pytest plugin. From the command line:
``python -m lightning_modules fit --model VanillaAutoencoder --data Digits``.

Names load with their first use: estimators in files take the extra ``pytest-aerobust[sklearn]``,
weights no extra, and everything else ``pytest-aerobust[lightning]``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_modules.autoencoders import (
        Autoencoder,
        DenoisingAutoencoder,
        SparseAutoencoder,
        VanillaAutoencoder,
        VariationalAutoencoder,
    )
    from lightning_modules.checkpoints import load_weights
    from lightning_modules.classifiers import Classifier, ConvNet, PaperNetwork, SoftmaxRegression
    from lightning_modules.datasets import MNIST, Digits, FashionMNIST
    from lightning_modules.errors import LightningModulesError
    from lightning_modules.estimators import fit_or_load_estimator, load_estimator, save_estimator
    from lightning_modules.filtered import Filtered
    from lightning_modules.training import fit_or_load

__all__ = [
    "MNIST",
    "Autoencoder",
    "Classifier",
    "ConvNet",
    "DenoisingAutoencoder",
    "Digits",
    "FashionMNIST",
    "Filtered",
    "LightningModulesError",
    "PaperNetwork",
    "SoftmaxRegression",
    "SparseAutoencoder",
    "VanillaAutoencoder",
    "VariationalAutoencoder",
    "fit_or_load",
    "fit_or_load_estimator",
    "load_estimator",
    "load_weights",
    "save_estimator",
]

# Where each name is.
_HOMES = {
    "autoencoders": (
        "Autoencoder",
        "DenoisingAutoencoder",
        "SparseAutoencoder",
        "VanillaAutoencoder",
        "VariationalAutoencoder",
    ),
    "checkpoints": ("load_weights",),
    "classifiers": ("Classifier", "ConvNet", "PaperNetwork", "SoftmaxRegression"),
    "datasets": ("MNIST", "Digits", "FashionMNIST"),
    "errors": ("LightningModulesError",),
    "estimators": ("fit_or_load_estimator", "load_estimator", "save_estimator"),
    "filtered": ("Filtered",),
    "training": ("fit_or_load",),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_HOMES})


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
        if name == module:
            return import_module(f"{__name__}.{module}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
