"""What the suite trains, once: filters, classifiers behind each of them and without, histories.

The paper's sizes and settings (sections 4 and 5): 35 epochs, batches of 1,024, Adam, categorical
cross entropy, ReLU in the encoder, exponential and softplus in the decoder, outputs on whatever
scale they take. What it does not say (weights of penalties, strength of noise) is chosen here.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sklearn.linear_model import LogisticRegression

from lightning_modules import (
    MNIST,
    Autoencoder,
    Digits,
    Filtered,
    PaperNetwork,
    fit_or_load,
    fit_or_load_estimator,
)
from lightning_modules.autoencoders import variant
from lightning_modules.datasets import Images

FOLDER = Path(__file__).parent / ".models"

# Their categorical cross entropy does not see the scale of the outputs, so nothing holds it.
_RAW = {"loss": "cce", "output": "raw"}
_FINAL = ("relu", "relu", "exponential", "softplus")
# The divergence of the sparse one is defined for means in [0, 1]: its code is a sigmoid.
_SPARSE = ("relu", "sigmoid", "exponential", "softplus")
FILTERS: dict[str, dict[str, Any]] = {
    "vanilla": {**_RAW, "activations": _FINAL},
    "sparse": {**_RAW, "activations": _SPARSE, "penalty": "kl", "weight": 0.5, "rho": 0.05},
    "denoising": {**_RAW, "activations": _FINAL, "corruption": "gaussian", "strength": 0.3},
    "variational": {"likelihood": "gaussian"},
}
CLASSIFIERS = ("regression", "network")

# Section 4.2: the same activation in all layers, and their final choice.
HISTORIES: dict[str, tuple[str, str, str, str]] = {
    "ReLU": ("relu", "relu", "relu", "relu"),
    "sigmoid": ("sigmoid", "sigmoid", "sigmoid", "sigmoid"),
    "softsign": ("softsign", "softsign", "softsign", "softsign"),
    "tanh": ("tanh", "tanh", "tanh", "tanh"),
    "ReLU, exponential, softplus": _FINAL,
}


@dataclass(frozen=True)
class Profile:
    """One data set, with the epochs that it takes."""

    name: str
    data: Callable[[], Images]
    epochs: int


PROFILES = {
    "mnist": Profile("mnist", lambda: MNIST(batch_size=1024), epochs=35),
    "digits": Profile("digits", lambda: Digits(batch_size=64), epochs=35),
}


class Trained:
    """Everything that is trained on one data set, each on first use.

    Args:
        profile: the data set and its epochs.
        shown: a block in which progress bars reach the terminal.
    """

    def __init__(
        self, profile: Profile, shown: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> None:
        self._profile, self.shown = profile, shown
        self.data = profile.data()
        self.data.prepare_data()

    def filter(self, name: str) -> Autoencoder:
        """The autoencoder of that variant, as the paper trains it."""
        return self._autoencoder(f"{name} autoencoder", name, **FILTERS[name])

    def bounded_filter(self) -> Autoencoder:
        """The vanilla one with outputs in the bounds and a loss that sees their scale."""
        return self._autoencoder("vanilla autoencoder, outputs in [0, 1]", "vanilla")

    def history(self, name: str) -> list[float]:
        """Training loss of each epoch with one of `HISTORIES`."""
        told = f"vanilla autoencoder, {name}"
        return self._autoencoder(told, "vanilla", activations=HISTORIES[name]).history["train_loss"]

    def classifier(self, kind: str, filter: Autoencoder | None) -> Any:
        """A classifier trained on images, or on what a filter makes of them."""
        data = self.data if filter is None else Filtered(self.data, filter)
        place = "on images" if filter is None else f"behind {type(filter).__name__}"
        return self._network(place, data) if kind == "network" else self._regression(data)

    def _autoencoder(self, told: str, name: str, **layers: Any) -> Autoencoder:
        return self._fitted(told, lambda: variant(name)(self.data.input_shape, **layers), self.data)

    def _network(self, place: str, data: Images) -> PaperNetwork:
        build = partial(PaperNetwork, data.input_shape, data.classes)
        return self._fitted(f"network {place}", build, data)

    def _regression(self, data: Images) -> Any:
        # As it comes, and without a scaler: one that scales pixel by pixel would blow up those that
        # are almost always dark, and with them whatever is added there.
        inputs, labels = data.training_arrays()
        return fit_or_load_estimator(
            LogisticRegression(), inputs.flatten(1).numpy(), labels.numpy(), folder=FOLDER
        )

    def _fitted(self, told: str, build: Callable[[], Any], data: Images) -> Any:
        with self.shown():
            print(f"\n{told}: {self._profile.epochs} epochs, or from {FOLDER}")
            return fit_or_load(
                build, data, folder=FOLDER, max_epochs=self._profile.epochs, progress=True
            )
