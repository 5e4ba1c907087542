"""Losses of logits that an attacker climbs."""

import torch
from torch import Tensor


def margins(logits: Tensor, classes: Tensor) -> Tensor:
    """How far the best other class lies above the given one, ``(n,)``.

    Positive where a sample is not answered as `classes`. Unlike a cross entropy it never
    saturates (Carlini & Wagner 2017, loss f6).

    Args:
        logits: ``(n, K)``.
        classes: ``(n,)``.
    """
    others = logits.scatter(1, classes[:, None], -torch.inf).amax(dim=1)
    return others - logits.gather(1, classes[:, None]).squeeze(1)
