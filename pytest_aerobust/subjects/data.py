"""Inputs and labels in any of their usual forms, as two checked tensors."""

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pytest_aerobust.contract.arguments import FeatureBounds
from pytest_aerobust.errors import DataError
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.generators import kept_generators
from pytest_aerobust.subjects.labels import checked_labels, listed, places_among
from pytest_aerobust.subjects.randomness import isolated
from pytest_aerobust.subjects.tensors import as_tensor, checked_as, described, keys

# Samples of a clean pass.
_CLEAN_CHUNK = 256
# Values outside the bounds by less than this share of their span are rounding: clipped.
ROUNDING = 1e-6
# Inputs that use less than this share of the bounds probably come in other units.
_NARROW = 0.05


@dataclass(frozen=True)
class Samples:
    """Checked inputs and labels.

    Attributes:
        inputs: Float tensor ``(N, ...)``, finite and inside the bounds.
        labels: Int64 tensor ``(N,)``, classes from 0.
        ids: Int64 tensor ``(N,)``, place of each sample in the data that was handed in.
        notes: What was changed on the way, in words.
        loaded: Samples of a batch as a loader of the user's gave it; None without a loader.
    """

    inputs: Tensor
    labels: Tensor
    ids: Tensor
    notes: tuple[str, ...] = ()
    loaded: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of batches that a model is likely to answer: the user's, that of a clean pass."""
        clean = len(self.chunks()[0])
        return (clean,) if self.loaded is None else (self.loaded, clean)

    def chunks(self) -> tuple[Tensor, ...]:
        """The inputs in batches for a pass that keeps nothing for gradients."""
        return torch.split(self.inputs, _CLEAN_CHUNK)


class Pairs(NamedTuple):
    """Inputs and labels as they came, unchecked, and what a reader should know of them.

    Attributes:
        inputs: Of all samples.
        labels: Likewise.
        notes: In words.
        loaded: Samples of a batch as a loader of the user's gave it; None without a loader.
    """

    inputs: Any
    labels: Any
    notes: tuple[str, ...] = ()
    loaded: int | None = None


def read_samples(data: Any) -> Pairs:
    """Inputs and labels of a pair, a Dataset, a DataLoader or a LightningDataModule.

    A data module is asked for its test set. A loader that shuffles does so in the same order in
    every run; the global random state and that of generators which the data hold are left as they
    were.

    Raises:
        DataError: The data is none of these, does not hold pairs, or breaks down.
    """
    with isolated(0), kept_generators(data):
        try:
            return _read(data)
        except DataError:
            raise
        except Exception as cause:
            raise DataError(
                f"data ({type(data).__name__}) raised {type(cause).__name__} while it was read: "
                f"{cause}. Expected pairs (input, label) of one shape, inputs as tensors or arrays"
            ) from cause


def _read(data: Any) -> Pairs:
    if hasattr(data, "test_dataloader"):
        data.prepare_data()
        data.setup("test")
        data = _single_loader(data.test_dataloader())
    if isinstance(data, Dataset):
        return _loaded(DataLoader(data, batch_size=256))._replace(loaded=None)
    if isinstance(data, DataLoader):
        return _loaded(data)
    if isinstance(data, tuple | list) and len(data) == 2 and not all(map(_mixed, data)):
        return Pairs(*data)
    raise DataError(
        f"data is a {type(data).__name__}: expected (inputs, labels), a torch Dataset, a "
        f"DataLoader or a LightningDataModule{_pair_of(data)}"
    )


def _mixed(part: Any) -> bool:
    """Whether it is an input beside its label, or a batch of each: two entries unlike in shape."""
    pair = isinstance(part, tuple | list) and len(part) == 2
    return pair and _shape(part[0]) != _shape(part[1])


def _shape(value: Any) -> tuple[int, ...]:
    """Of nested lists, that of their first entries."""
    if isinstance(value, tuple | list) and value:
        return (len(value), *_shape(value[0]))
    return tuple(getattr(value, "shape", ()))


def _loaded(loader: DataLoader[Any]) -> Pairs:
    batches = _batches(loader)
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return Pairs(inputs, labels, _loader_notes(loader, len(labels)), len(batches[0][0]))


def _pair_of(data: Any) -> str:
    """How a pair is made of data that is none, where it shows."""
    if isinstance(data, Mapping):
        return f"; it has the keys {keys(data)}: give the two that are meant, {_first_two(data)}"
    if not isinstance(data, tuple | list) or not data:
        return ""
    if all(isinstance(entry, tuple | list) and len(entry) == 2 for entry in data):
        return (
            f"; these are {len(data)} pairs: give inputs, labels = zip(*data), and torch.cat() of "
            "each where they are batches"
        )
    return f"; it has {len(data)} entries: give the two that are meant, {_first_two(data)}"


def _first_two(parts: Any, name: str = "data") -> str:
    places = [*islice(parts, 2)] if isinstance(parts, Mapping) else [0, 1]
    return "such as (" + ", ".join(f"{name}[{place!r}]" for place in places) + ")"


def _single_loader(loaders: Any) -> Any:
    if isinstance(loaders, DataLoader):
        return loaders
    count = len(loaders) if isinstance(loaders, tuple | list) else 0
    if count == 1:
        return loaders[0]
    raise DataError(
        f"test_dataloader() gives {count or type(loaders).__name__} loaders: expected one; give "
        "the one that is meant, as data"
    )


def _loader_notes(loader: DataLoader[Any], read: int) -> tuple[str, ...]:
    held = len(loader.dataset) if isinstance(loader.dataset, Sized) else read
    if not loader.drop_last or read == held:
        return ()
    return (f"the DataLoader has drop_last=True: {held - read} of {held} samples were left out",)


def _batches(batches: Iterable[Any]) -> list[tuple[Tensor, Tensor]]:
    inputs, labels = [], []
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise DataError(
                f"data gives a {described(batch)} a batch: expected pairs (inputs, labels)"
                f"{_picked_of(batch)}"
            )
        inputs.append(as_tensor("inputs", batch[0]))
        labels.append(as_tensor("labels", batch[1]))
        if inputs[-1].shape[:1] != labels[-1].shape[:1]:
            raise DataError(
                f"data gives {described(inputs[-1])} with labels {described(labels[-1])} in batch "
                f"{len(labels) - 1}: expected inputs (N, ...) and labels (N,); a DataLoader has no "
                "batch dimension with batch_size=None"
            )
    if not inputs:
        raise DataError("data holds 0 samples: expected at least one")
    shapes = {tuple(part.shape[1:]) for part in inputs}
    if len(shapes) > 1:
        raise DataError(
            f"inputs come in several shapes, {' and '.join(map(str, sorted(shapes)))}: expected "
            "one shape for all samples"
        )
    return list(zip(inputs, labels, strict=True))


def _picked_of(batch: Any) -> str:
    """How to go on with batches that hold something else, or something more."""
    if isinstance(batch, list) and all(isinstance(each, tuple | list) for each in batch):
        return ". Its samples are not joined: leave out collate_fn=, or join them in it"
    if not isinstance(batch, Mapping | tuple | list) or len(batch) < 2:
        return "; are the labels missing?"
    return (
        ". Hand in the two that are meant as tensors, each joined by torch.cat over all batches, "
        f"{_first_two(batch, 'batch')}, or a Dataset that returns these alone"
    )


def check_samples(
    data: tuple[Any, ...], bounds: FeatureBounds, classes: tuple[Any, ...] | None = None
) -> Samples:
    """Inputs and labels as tensors that an evaluation can trust.

    Args:
        data: Inputs ``(N, ...)`` and labels ``(N,)`` or one-hot ``(N, K)``, tensors, arrays or
            lists; :class:`Pairs` or a plain pair.
        bounds: Smallest and largest value of an input, or of each of its features.
        classes: The model's own names of its classes, numbers or strings: labels are looked up
            among them. None where they are 0 to K-1 anyway.

    Raises:
        DataError: With what came, what was expected and the next step.
        ContractError: Bounds that don't fit the shape of the inputs.
    """
    pairs = Pairs(*data)
    with checked_as("labels", pairs.labels):
        named = pairs.labels if classes is None else places_among(pairs.labels, classes)
        labels = checked_labels(named)
    with checked_as("inputs", pairs.inputs):
        inputs = _checked_inputs(pairs.inputs, len(labels))
        inputs, notes = _within(inputs, Box.of(bounds, shape=tuple(inputs.shape[1:])))
    notes += _mapping_note(classes)
    ids = torch.arange(len(labels))
    return Samples(inputs, labels, ids, (*pairs.notes, *notes), pairs.loaded)


def _checked_inputs(value: Any, labels: int) -> Tensor:
    inputs = as_tensor("inputs", value)
    shape = tuple(inputs.shape)
    if not inputs.numel():
        raise DataError(f"data holds 0 samples (inputs of shape {shape}): expected at least one")
    if inputs.ndim < 2 or len(inputs) != labels:
        missing = inputs.ndim < 2 or labels == 1
        raise DataError(
            f"inputs have shape {shape}, so {shape[0]} samples, but labels have {labels} entries: "
            f"expected inputs (N, ...) and as many labels"
            + ("; is the batch dimension missing?" if missing else "")
        )
    if inputs.is_complex():
        raise DataError(
            f"inputs are {inputs.dtype}: expected real numbers, such as torch.view_as_real() gives"
        )
    if not inputs.is_floating_point():
        low, high = inputs.min().item(), inputs.max().item()
        raise DataError(
            f"inputs are {inputs.dtype} in [{low}, {high}]: convert them to float, scaled as the "
            f"model was trained; eps and bounds are in the units of the data{_tokens(inputs)}"
        )
    # The extremes are NaN or infinite where any value is, and cost a tenth of asking each.
    if not torch.stack(inputs.aminmax()).isfinite().all():
        bad = (~inputs.flatten(1).isfinite().all(dim=1)).nonzero().flatten()
        raise DataError(
            f"inputs are NaN or infinite in {len(bad)} of {len(inputs)} samples, first at index "
            f"{bad[0].item()}: expected finite values"
        )
    return inputs


def _tokens(inputs: Tensor) -> str:
    """A word for whom a conversion would send in a circle."""
    if inputs.dtype in (torch.uint8, torch.bool):
        return ""
    return (
        ". If they are tokens or other indices there is no budget to move them in: hand in what "
        "stands behind the embedding as the model, and the embedded inputs as data"
    )


def _within(inputs: Tensor, box: Box) -> tuple[Tensor, list[str]]:
    low, high = (end.to(inputs.device) for end in (box.low, box.high))
    values = inputs.flatten() if box.uniform else inputs
    smallest, largest = values.amin(dim=0).double(), values.amax(dim=0).double()
    span, slack = high - low, ROUNDING * (high - low)
    outside = (smallest < low - slack) | (largest > high + slack)
    if outside.any():
        raise DataError(
            f"inputs{_extremes(smallest, largest, low, high, outside)}: scale the "
            "inputs, or state their bounds with the fixture aerobust_bounds or bounds="
        )
    notes = []
    if ((smallest < low) | (largest > high)).any():
        inputs = inputs.clamp(*box.around(inputs))
        notes.append(f"inputs left the bounds {box} by rounding and were clipped")
    if (largest - smallest < _NARROW * span)[span > 0].all():
        where = f"[{smallest.min():g}, {largest.max():g}] of" if box.uniform else "a part of"
        notes.append(
            f"inputs span only {where} the bounds {box}: are the bounds in the units of the data?"
        )
    return inputs, notes


def _extremes(smallest: Tensor, largest: Tensor, low: Tensor, high: Tensor, outside: Tensor) -> str:
    """What the inputs span and what they may; of many features, of the first that is wrong."""
    where = ""
    if outside.ndim:
        place = tuple(outside.nonzero()[0].tolist())
        low, high = (end.broadcast_to(outside.shape)[place] for end in (low, high))
        smallest, largest = smallest[place], largest[place]
        where = f" of {int(outside.sum())} features leave their bounds: feature {place}'s"
    return f"{where} span [{smallest:g}, {largest:g}], bounds are ({low:g}, {high:g})"


def _mapping_note(classes: tuple[Any, ...] | None) -> list[str]:
    if classes is None or classes == tuple(range(len(classes))):
        return []
    return [f"classes are counted from 0 in the order of the model's own: {listed(classes)}"]


def stratified(samples: Samples, count: int, seed: int) -> Samples:
    """A seeded subset that keeps the shares of the classes as well as whole numbers can.

    Args:
        samples: What to draw from.
        count: How many to keep; all, where there are no more.
        seed: Seed of the draw.
    """
    if count >= len(samples):
        return samples
    rng = np.random.default_rng(seed)
    labels = samples.labels.cpu().numpy()
    classes, sizes = np.unique(labels, return_counts=True)
    quotas = _quotas(sizes, count)
    chosen = [
        rng.choice(np.flatnonzero(labels == label), quota, replace=False)
        for label, quota in zip(classes, quotas, strict=True)
    ]
    rows = torch.from_numpy(np.sort(np.concatenate(chosen)))
    note = f"{count} of {len(samples)} samples drawn, stratified, seed {seed}"
    return replace(
        samples,
        inputs=samples.inputs[rows],
        labels=samples.labels[rows],
        ids=samples.ids[rows],
        notes=(*samples.notes, note),
    )


def shuffled(samples: Samples, firsts: Tensor, seed: int) -> Samples:
    """The same samples in a seeded random order, and repeats after all distinct ones.

    Were they mixed, inputs with many copies would come early.

    Args:
        samples: What to put in order.
        firsts: Of each the place of the first that repeats it, ``(N,)``.
        seed: Seed of the order.
    """
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(len(samples)))
    repeats = firsts[rows] != rows
    rows = torch.cat([rows[~repeats], rows[repeats]])
    return replace(
        samples,
        inputs=samples.inputs[rows],
        labels=samples.labels[rows],
        ids=samples.ids[rows],
    )


def _quotas(sizes: np.ndarray, count: int) -> np.ndarray:
    """Whole numbers that sum to `count`, in proportion to `sizes` (largest remainders)."""
    exact = sizes * count / sizes.sum()
    quotas: np.ndarray = np.floor(exact).astype(int)
    largest = np.argsort(quotas - exact, kind="stable")[: count - quotas.sum()]
    quotas[largest] += 1
    return quotas
