"""Train once, load ever after: the same weights in every process, and never stale ones."""

import logging
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from math import nan
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from lightning_modules.checkpoints import load_weights
from lightning_modules.errors import (
    DivergedError,
    UnreadableCheckpointError,
)
from lightning_modules.extra import PossibleUserWarning, isolate_rng, pl
from lightning_modules.fingerprint import description
from lightning_modules.kept import Kept

Module = TypeVar("Module", bound=pl.LightningModule)

History = dict[str, list[float]]
"""From names of metrics to one number an epoch."""

_RECORD = 2  # what a record holds: part of the key, so that none of an older form is looked at
_CHATTY = ("pytorch_lightning", "lightning_fabric")


def fit_or_load(
    build: Callable[[], Module],
    data: pl.LightningDataModule,
    *,
    folder: str | Path,
    max_epochs: int,
    seed: int = 0,
    accelerator: str = "cpu",
    also: Mapping[str, object] | None = None,
    progress: bool = False,
) -> Module:
    """A trained module in eval mode: trained now, or loaded if the same was trained before.

    ``build`` is called with the random state seeded, so the initial weights follow the seed too:
    on one machine and device, the same seed trains the same weights (on a GPU as far as its
    kernels are deterministic). The global random state of Python, NumPy and torch is left as it
    was found.

    Weights lie in ``folder`` as ``<class>-<key>.pt``, beside a ``.json`` that says what was
    trained and holds their SHA-256. The key is the first 16 hex digits of a SHA-256 over all that
    shapes the weights (`lightning_modules.fingerprint.description`): change the code of a class, a
    hyperparameter, the initial weights, the data module, epochs, seed, accelerator or a library,
    and it trains anew. Processes that ask for the same weights wait for the one that trains them.
    A killed process leaves nothing that is believed.

    The module returned has an attribute ``history``, from the name of each metric that the
    training logged to one number an epoch (NaN for epochs before it was first logged). The record
    keeps it, so that it is the same whether the module was trained now or loaded.

    Args:
        build: makes the untrained module, as ``lambda: ConvNet((1, 8, 8), 10)``. Called twice
            where it trains, so that trained and loaded modules don't differ in anything.
        data: what to train on; its hyperparameters must tell what it gives.
        folder: for the checkpoints; made where it does not exist.
        max_epochs: passes over the training set, 1 or more.
        seed: of initial weights, dropout, noise.
        accelerator: ``"cpu"``, ``"auto"`` or another that Lightning knows.
        also: plain values for the key, for what shapes the weights but is no hyperparameter.
        progress: show Lightning's progress bar.

    Raises:
        TypeError: ``build`` is a module, whose initial weights no seed gives.
        ValueError: ``max_epochs`` is below 1.
        UnkeyedError: the key can't hold everything that shapes the weights.
        DivergedError: trained weights are not finite; they are not kept.
        CheckpointError: the files don't fit each other, or are damaged.
    """
    if isinstance(build, torch.nn.Module):
        raise TypeError(
            f"expected a callable that builds the module: lambda: {type(build).__name__}(...)"
        )
    if max_epochs < 1:
        raise ValueError(f"max_epochs={max_epochs}: expected 1 or more")
    module = _built(build, seed)
    training = {"max_epochs": max_epochs, "seed": seed, "accelerator": accelerator}
    trained = description(module, data, training, also or {}) | {"record": _RECORD}
    kept = Kept.named(Path(folder), trained, type(module).__name__, ".pt")
    with kept.lock():
        if not kept.complete():
            logbook = _Logbook()
            trainer = _trainer(accelerator, max_epochs, progress, logbook)
            _fit(trainer, module, data, seed)
            kept.write(partial(torch.save, module.state_dict()), history=logbook.history)
    return _loaded(kept, _built(build, seed))


class _Logbook(pl.Callback):
    """What each epoch logged."""

    def __init__(self) -> None:
        self.history: History = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # The epoch's validation is over by now, and its means are among the metrics.
        for name, value in trainer.callback_metrics.items():
            missed = [nan] * trainer.current_epoch
            self.history.setdefault(name, missed).append(float(value))


def _loaded(kept: Kept, module: Module) -> Module:
    history = kept.believed().get("history")
    if not _is_history(history):
        raise UnreadableCheckpointError(
            f"{kept.record}: its history should hold lists of numbers. {kept.advice}"
        )
    # Not plain assignment: nn.Module is typed to take tensors and modules alone.
    object.__setattr__(module, "history", history)
    return load_weights(module, kept.file)


def _built(build: Callable[[], Module], seed: int) -> Module:
    with _seeded(seed):
        return build()


def _is_history(found: object) -> bool:
    """Whether JSON gave a mapping from names to lists of numbers."""
    return isinstance(found, dict) and all(
        isinstance(numbers, list) and all(type(number) is float for number in numbers)
        for numbers in found.values()
    )


def _trainer(accelerator: str, max_epochs: int, progress: bool, logbook: pl.Callback) -> pl.Trainer:
    with _quiet():
        return pl.Trainer(
            accelerator=accelerator,
            devices=1,
            max_epochs=max_epochs,
            callbacks=logbook,
            enable_progress_bar=progress,
            # Nothing but the weights is wanted: no folder of logs where a test happens to run.
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )


def _fit(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, seed: int
) -> None:
    with _seeded(seed), _quiet():
        trainer.fit(module, datamodule=data)
    broken = [name for name, weight in module.state_dict().items() if not _finite(weight)]
    if broken:
        raise DivergedError(
            f"after {trainer.max_epochs} epochs {broken[0]} holds numbers that aren't finite; a "
            "smaller learning rate may help"
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random state and gradients as a training needs them; afterwards as they were."""
    with isolate_rng(), torch.inference_mode(False), torch.enable_grad():
        # Not Lightning's seed_everything, which leaves environment variables behind.
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's hints on hardware, workers and logging; other warnings are shown."""
    with warnings.catch_warnings(), ExitStack() as undo:
        warnings.simplefilter("ignore", PossibleUserWarning)
        # Lightning 2.6 on torch 2.13: about its own code, nothing that a user could change.
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
        for name in _CHATTY:
            logger = logging.getLogger(name)
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.WARNING)
        yield


def _finite(weight: torch.Tensor) -> bool:
    return bool(torch.isfinite(weight).all())
