"""Whether two answers to the same questions are one model's, but for the rounding of machines."""

import torch
from torch import Tensor

from pytest_aerobust.subjects.scale import deciding_sizes

# What rounding on another processor may change, as a share of what the answers of a class (or the
# gradients of a point) differ by anyway, and of their size where these cancel out.
_ROUNDING, _OF_SIZE = 1e-4, 2**-20
_OF_GRADIENTS = 1e-3
# Where rounding differs at all, it may also turn the gradient of a few points: at a kink.
_AT_KINKS = 1 / 8


def same_logits(before: Tensor, now: Tensor, *, exact: bool = False) -> bool:
    """Whether logits ``(n, K)`` are the same but for rounding.

    Each logit rounds by its own size and those of its sample's two leading classes: neither a
    sample with huge logits nor a class that is masked by a huge number hides another. Where
    arithmetic is another, it also rounds by what sums cancelled out: as much as the class differs
    between samples.

    Args:
        before: Of one run.
        now: Of another, to the same inputs in the same order.
        exact: Whether both are known to round alike.
    """
    if before.shape != now.shape:
        return False
    one, other = before.double(), now.double()
    allowed = _OF_SIZE * torch.maximum(one.abs(), deciding_sizes(one)[:, None])
    if not exact:
        allowed = allowed + _ROUNDING * _spread(one)
    return bool(((one - other).abs() <= allowed).all())


def _spread(logits: Tensor) -> Tensor:
    """How far each of the logits ``(n, K)`` lies from the middle of its class, or others do.

    Of the others the upper quartile: up to a quarter of huge samples sets no scale, nor do up to
    three quarters that lie at a border.
    """
    apart = (logits - logits.median(dim=0).values).abs()
    return torch.maximum(apart, apart.kthvalue(-(-3 * len(apart) // 4), dim=0).values)


def same_classes(before: Tensor, now: Tensor) -> bool:
    """Whether classes are the answers of today, but for rounding.

    Args:
        before: Classes of one run ``(n,)``.
        now: Logits of another ``(n, K)``, to the same inputs in the same order.
    """
    if len(before) != len(now) or int(before.max()) >= now.shape[1]:
        return False
    logits = now.double()
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    said = logits.gather(1, before.long()[:, None]).squeeze(1)
    own = _OF_SIZE * torch.maximum(first.abs(), said.abs())
    # A narrow lead of this run: neither ties nor the wide leads of most samples set the scale.
    shared = _ROUNDING * (first - second).quantile(0.1)
    return bool((first - said <= own + shared).all())


def same_gradients(before: Tensor, now: Tensor, *, exact: bool = False) -> bool:
    """Whether gradients, as :func:`sketched`, are the same but for rounding.

    Args:
        before: Of one run ``(n, D)``; of nobody, where there was no gradient.
        now: Of another, at the same inputs in the same order.
        exact: Whether the logits of both show that they round alike.
    """
    if before.shape != now.shape:
        return False
    one, other = before.double(), now.double()
    lengths = one.norm(dim=1)
    scale = torch.maximum(lengths, _OF_GRADIENTS * lengths.mean())
    turned = int(((one - other).norm(dim=1) > _OF_GRADIENTS * scale).sum())
    return turned <= (0 if exact else _AT_KINKS * len(one))


def sketched(gradients: Tensor, count: int = 8) -> Tensor:
    """Gradients ``(n, ...)`` in few numbers ``(n, count)``: sums of entries with random signs.

    Two gradients differ as much as their sketches, give or take a third (Johnson & Lindenstrauss);
    NaN counts as 0.
    """
    flat = gradients.detach().flatten(1).nan_to_num(0.0, 0.0, 0.0)
    generator = torch.Generator().manual_seed(0)
    signs = 2 * torch.randint(0, 2, (flat.shape[1], count), generator=generator) - 1
    sums: Tensor = flat @ signs.to(flat) / count**0.5
    return sums
