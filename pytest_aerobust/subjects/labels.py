"""Labels in any of their usual forms, as classes counted from 0."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.errors import DataError
from pytest_aerobust.subjects.tensors import as_tensor, check_mask

# Classes in a message before the rest is only counted.
_SHOWN = 10


def checked_labels(value: Any) -> Tensor:
    """Int64 classes ``(N,)`` of labels ``(N,)``, ``(N, 1)`` or one-hot ``(N, K)``.

    Raises:
        DataError: They are no classes, with what came, what was expected and the next step.
    """
    labels = as_tensor("labels", value)
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = _from_one_hot(labels)
    elif labels.ndim == 2:
        labels = labels.flatten()
    if labels.ndim != 1:
        raise DataError(
            f"labels have shape {tuple(labels.shape)}: expected (N,), or one-hot (N, classes)"
        )
    if not len(labels):
        raise DataError("data holds 0 samples (no labels): expected at least one")
    if labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"labels are {labels.dtype}: expected whole numbers, the classes from 0; "
            f"{_whole(labels)}"
        )
    if labels.min() < 0:
        index = int((labels < 0).nonzero()[0])
        raise DataError(
            f"labels[{index}] is {labels[index].item()}: expected classes from 0; drop samples "
            "that carry an ignored label"
        )
    return labels.to(torch.int64)


def _whole(labels: Tensor) -> str:
    """The next step with labels that are no whole numbers by their type."""
    if labels.is_complex():
        return "give their classes"
    fractions = (labels.frac() != 0).nonzero().flatten()  # NaN and infinity among them
    if not len(fractions):
        return "if they are classes, convert them with labels.long()"
    place = int(fractions[0])
    return f"labels[{place}] is {labels[place].item():g}, which is no class"


def places_among(value: Any, classes: tuple[Any, ...]) -> Any:
    """Labels as places among a model's classes; one-hot labels are such places already."""
    labels = _as_array(value)
    if labels.shape[1:] == (len(classes),):
        return labels
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"labels have shape {labels.shape}: expected (N,), or one-hot (N, {len(classes)})"
        )
    names = labels.tolist()
    places = {name: place for place, name in enumerate(classes)}
    for index, name in enumerate(names):
        if name not in places:
            raise DataError(
                f"labels[{index}] is {name!r}, which is none of the model's classes "
                f"{listed(classes)}: give the labels that it was fitted on"
            )
    return torch.tensor([places[name] for name in names], dtype=torch.int64)


def _as_array(labels: Any) -> np.ndarray:
    if isinstance(labels, Tensor):
        return as_tensor("labels", labels).cpu().numpy()
    check_mask("labels", labels)
    try:
        return np.asarray(labels)
    except ValueError as error:
        raise DataError(f"labels are a {type(labels).__name__} of no shape: {error}") from error


def _from_one_hot(labels: Tensor) -> Tensor:
    exact = ((labels == 0) | (labels == 1)).all() and (labels.sum(dim=1) == 1).all()
    if not exact:
        raise DataError(
            f"labels have shape {tuple(labels.shape)} but are not one-hot: expected a single 1 "
            "a row, or classes of shape (N,)"
        )
    return labels.to(torch.int64).argmax(dim=1)


def listed(classes: tuple[Any, ...]) -> str:
    """A model's names of its classes in a message; of many, the first."""
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    return ", ".join(map(repr, classes[:_SHOWN])) + more
