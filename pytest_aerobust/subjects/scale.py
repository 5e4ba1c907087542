"""How large a model's logits are, to tell its rounding from other answers."""

import torch
from torch import Tensor


def deciding_sizes(logits: Tensor) -> Tensor:
    """Of each sample the larger one of its best two logits, in float64 ``(n,)``.

    Others decide nothing: a class that a model masks may stand at -1e9.

    Args:
        logits: ``(n, K)``, K of at least 2.
    """
    return logits.topk(2, dim=1).values.abs().amax(dim=1).double()


def logits_apart(one: Tensor, other: Tensor) -> float:
    """How far logits ``(n, K)`` lie apart: the largest entry, as a share of its size.

    That is its own, but no less than what most samples decide by, as near a border rounding is a
    large share of what is left.
    """
    one, other = one.double(), other.double()
    usual = deciding_sizes(one).median().clamp_min(torch.finfo(torch.double).tiny)
    share: float = ((one - other).abs() / one.abs().clamp_min(usual)).max().item()
    return share
