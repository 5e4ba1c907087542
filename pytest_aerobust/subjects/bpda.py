"""Gradients for filters that have none: backward as if they were the identity.

Backward pass differentiable approximation: Athalye, Carlini & Wagner 2018, "Obfuscated Gradients
Give a False Sense of Security", section 4.1.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from torch import Tensor


class _Identity(torch.autograd.Function):
    """Gives the outputs, and hands what comes back to the inputs."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, outputs: Tensor) -> Tensor:
        return outputs.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def as_identity(inputs: Tensor, outputs: Tensor) -> Tensor:
    """The outputs, bit for bit, whose gradient is that of the inputs.

    Args:
        inputs: What went in, part of a graph.
        outputs: What came out, of the same shape and part of none.
    """
    passed: Tensor = _Identity.apply(inputs, outputs)  # type: ignore[no-untyped-call]  # torch's
    return passed


class Fault(Enum):
    """Why a filter's own gradient is of no use, in words."""

    NONE = "the filter is not differentiable"
    ZERO = "the filter's gradient is zero or not finite wherever the model behind it has one"


def filter_fault(
    filter: Callable[[Tensor], Tensor],
    model: Callable[[Tensor], Tensor],
    gradient: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
) -> Fault | None:
    """What is wrong with the gradient of a filter; None where nothing is, or nobody can tell.

    The margin of each sample is followed back to the filter's output, and from there through the
    filter. Where the model itself gives no direction the filter can't be judged.

    Args:
        filter: From inputs to inputs.
        model: What stands behind it, from there to logits ``(N, K)``.
        gradient: Of a loss of those logits with respect to what the model was given.
        inputs: A few clean samples ``(N, ...)``.

    Raises:
        ModelError: The model is not differentiable.
    """
    with torch.enable_grad():
        seen = filter(inputs.clone()).detach().requires_grad_()
        best = model(seen).topk(2, dim=1).values
        arriving = gradient((best[:, 0] - best[:, 1]).sum(), seen)
        leaving = _leaving(filter, inputs, arriving)
    if leaving is None:
        return Fault.NONE
    told = have_direction(arriving)
    return Fault.ZERO if told.any() and not (told & have_direction(leaving)).any() else None


def _leaving(filter: Callable[[Tensor], Tensor], inputs: Tensor, arriving: Tensor) -> Tensor | None:
    """What the filter's backward pass makes of gradients; None where it has none."""
    start = inputs.clone().requires_grad_()
    try:
        # A copy, as filters may work in place.
        outputs = filter(start.clone())
        return torch.autograd.grad(outputs, start, arriving, allow_unused=True)[0]
    except Exception:
        # It answered these inputs without a graph: this is how NumPy and detached parts end.
        return None


def have_direction(gradients: Tensor) -> Tensor:
    """Which gradients ``(n, ...)`` are finite and not 0 everywhere."""
    flat = gradients.flatten(1)
    return flat.isfinite().all(dim=1) & (flat != 0).any(dim=1)
