"""Autoencoders: filters that stand in front of a classifier, one file a variant.

A new variant is one file and a row of `VARIANTS`.
"""

from lightning_modules.autoencoders.activations import ACTIVATIONS
from lightning_modules.autoencoders.base import Autoencoder
from lightning_modules.autoencoders.denoising import CORRUPTIONS, DenoisingAutoencoder
from lightning_modules.autoencoders.likelihoods import LIKELIHOODS
from lightning_modules.autoencoders.losses import LOSSES
from lightning_modules.autoencoders.networks import NETWORKS
from lightning_modules.autoencoders.sparse import PENALTIES, SparseAutoencoder
from lightning_modules.autoencoders.vanilla import VanillaAutoencoder
from lightning_modules.autoencoders.variational import (
    VariationalAutoencoder,
    kl_to_standard_normal,
)
from lightning_modules.errors import named

__all__ = [
    "ACTIVATIONS",
    "CORRUPTIONS",
    "LIKELIHOODS",
    "LOSSES",
    "NETWORKS",
    "PENALTIES",
    "VARIANTS",
    "Autoencoder",
    "DenoisingAutoencoder",
    "SparseAutoencoder",
    "VanillaAutoencoder",
    "VariationalAutoencoder",
    "kl_to_standard_normal",
    "variant",
]

VARIANTS: dict[str, type[Autoencoder]] = {
    "vanilla": VanillaAutoencoder,
    "sparse": SparseAutoencoder,
    "denoising": DenoisingAutoencoder,
    "variational": VariationalAutoencoder,
}


def variant(name: str) -> type[Autoencoder]:
    """The class of the variant called ``name``, from `VARIANTS`.

    Raises:
        UnknownNameError: with the nearest names and all that are known.
    """
    return named(VARIANTS, name, "variant")
