"""A faster memory layout for convolutions, where nobody notices it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pytest_aerobust.subjects.scale import logits_apart

# From this batch on a faster layout pays for the questions that it takes.
_LARGE = 64
# Logits that differ by less than this share of their size differ by rounding.
_ROUNDING = 1e-4
# And gradients, where a ReLU may open whose input was 0 to rounding.
_OPENING = 1e-2


@dataclass(frozen=True)
class Reply:
    """What a side says to a few samples.

    Attributes:
        logits: ``(n, K)``.
        gradients: Of logits with respect to inputs, ``(m, ...)``.
    """

    logits: Tensor
    gradients: Tensor

    def like(self, other: "Reply") -> bool:
        """Whether it differs from another by no more than rounding."""
        logits = logits_apart(self.logits, other.logits)
        return logits <= _ROUNDING and _apart(self.gradients, other.gradients) <= _OPENING


class Layout:
    """The weights of 2-d convolutions, with their channels innermost or as they came.

    On a CPU pooling and convolutions take a third less time with the channels innermost. But
    what they put out then has strides that `view`, `as_strided` and whoever reads the weights'
    storage may not expect.

    Args:
        modules: Whose weights they are, on the device of the run.
        replies: Puts the same questions at each call.
    """

    def __init__(self, modules: list[nn.Module], replies: Callable[[], list[Reply]]) -> None:
        self._kernels = [
            parameter
            for module in modules
            for parameter in module.parameters()
            if parameter.ndim == 4 and parameter.device.type == "cpu"
        ]
        self._originals = [kernel.data for kernel in self._kernels]
        self._replies = replies
        self._tried = not self._kernels
        self._changed = False

    def prepare(self, samples: int) -> None:
        """Change to the faster layout, if the same questions are answered alike in both.

        They are put once, before the first batch that is large enough to pay for them.
        """
        if not self._tried and samples >= _LARGE:
            self._tried = True
            self._change()

    def _change(self) -> None:
        try:
            expected = self._replies()
            self._changed = True
            for kernel in self._kernels:
                # Not `contiguous`: with one channel both formats fit, and it would keep the first.
                kernel.data = kernel.data.clone(memory_format=torch.channels_last)
            found = self._replies()
            alike = all(one.like(other) for one, other in zip(expected, found, strict=True))
        except Exception:
            # Who fails without the layout will say so in the run.
            alike = False
        if not alike:
            self.restore()

    def restore(self) -> bool:
        """Every weight as it came, the very same tensor; whether it was another."""
        changed, self._changed = self._changed, False
        if changed:
            for kernel, original in zip(self._kernels, self._originals, strict=True):
                kernel.data = original
        return changed


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest difference of a row, as a share of the longest row.

    Not of the row itself: the short gradients of a saturated model are little but rounding.
    """
    one, other = one.flatten(1).double(), other.flatten(1).double()
    longest = one.norm(dim=1).max().clamp_min(torch.finfo(torch.double).tiny)
    share: float = ((one - other).norm(dim=1).max() / longest).item()
    return share
