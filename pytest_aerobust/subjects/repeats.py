"""Inputs that come more than once: a population is shown by distinct ones alone."""

import hashlib

import numpy as np
import torch
from torch import Tensor


def first_places(inputs: Tensor) -> Tensor:
    """Of each input ``(N, ...)`` the place of the first that is the same to the last bit, ``(N,)``.

    Only inputs that add up to the same are hashed, which in data without repeats is nobody.
    """
    rows = inputs.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
    width = next(each for each in (8, 4, 2, 1) if not rows.shape[1] % each)
    sums = rows.view(f"i{width}").sum(axis=1, dtype=np.int64)
    _, group, counts = np.unique(sums, return_inverse=True, return_counts=True)
    places = np.arange(len(rows))
    seen: dict[bytes, int] = {}
    for place in np.flatnonzero(counts[group] > 1).tolist():
        content = hashlib.blake2b(rows[place].data, digest_size=16).digest()
        places[place] = seen.setdefault(content, place)
    return torch.from_numpy(places)


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
