"""Inputs that come more than once: a population is shown by distinct ones alone."""

import hashlib

import numpy as np
import torch
from torch import Tensor

# Samples that are cast and copied at a time.
_CHUNK = 256


def first_places(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Of each input ``(N, ...)`` the place of the first that no model can tell from it, ``(N,)``.

    Only inputs that add up to the same are hashed, which in data without repeats is nobody.

    Args:
        inputs: As they were handed in.
        dtype: In which a model is asked about them.
    """
    sums = np.concatenate([_sums(_rows(part, dtype)) for part in torch.split(inputs, _CHUNK)])
    _, group, counts = np.unique(sums, return_inverse=True, return_counts=True)
    places = np.arange(len(sums))
    seen: dict[bytes, int] = {}
    for some in torch.split(torch.from_numpy(np.flatnonzero(counts[group] > 1)), _CHUNK):
        for place, row in zip(some.tolist(), _rows(inputs[some], dtype), strict=True):
            content = hashlib.blake2b(row.data, digest_size=16).digest()
            places[place] = seen.setdefault(content, place)
    return torch.from_numpy(places)


def _rows(inputs: Tensor, dtype: torch.dtype) -> np.ndarray:
    """Bytes ``(n, bytes)`` of what a model gets, the same for both zeros."""
    asked = inputs.detach().to("cpu", dtype) + 0.0
    return asked.contiguous().flatten(1).view(torch.uint8).numpy()


def _sums(rows: np.ndarray) -> np.ndarray:
    width = next(each for each in (8, 4, 2, 1) if not rows.shape[1] % each)
    sums: np.ndarray = rows.view(f"i{width}").sum(axis=1, dtype=np.int64)
    return sums


def repeat_notes(firsts: Tensor, labels: Tensor) -> tuple[str, ...]:
    """How many samples are no new ones, in words.

    Args:
        firsts: What :func:`first_places` gives.
        labels: Of the samples, ``(N,)``.
    """
    places = torch.arange(len(firsts))
    repeats = int((firsts != places).sum())
    if not repeats:
        return ()
    labels = labels.cpu()
    disputed = len({*firsts[labels != labels[firsts]].tolist()})
    words = (
        f"{repeats} of {len(firsts)} samples repeat the inputs of others, {len(firsts) - repeats} "
        "are distinct; confidence= counts each once, by the worst that its copies came to"
    )
    if disputed:
        words += f". {disputed} of them come with several labels, of which one at most can be right"
    return (words,)
