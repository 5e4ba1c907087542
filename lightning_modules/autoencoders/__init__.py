"""Autoencoders: filters that stand in front of a classifier, one file a variant."""

from lightning_modules.autoencoders.activations import ACTIVATIONS
from lightning_modules.autoencoders.base import Autoencoder
from lightning_modules.autoencoders.losses import LOSSES
from lightning_modules.autoencoders.vanilla import VanillaAutoencoder

__all__ = ["ACTIVATIONS", "LOSSES", "Autoencoder", "VanillaAutoencoder"]
