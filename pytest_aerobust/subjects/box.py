"""Where the features of an input may be, and which of them may change."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pytest_aerobust.contract.arguments import (
    Bounds,
    FeatureBounds,
    Mask,
    checked_feature_bounds,
    checked_mask,
)
from pytest_aerobust.errors import ContractError

Gradient = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Box:
    """Bounds for every feature, whatever the budget allows.

    Attributes:
        low: Smallest values: one number, or broadcastable to a sample's shape.
        high: Largest values, likewise.
        mutable: Which features an attacker may change, likewise; None where all are.
    """

    low: Tensor
    high: Tensor
    mutable: Tensor | None = None

    @classmethod
    def of(
        cls, bounds: FeatureBounds, mutable: Mask | None = None, shape: tuple[int, ...] = ()
    ) -> "Box":
        """The box of a contract's arguments for samples of a shape.

        Raises:
            ContractError: The arguments don't fit the samples, or bounds are reversed.
        """
        low, high = (_fitted("bounds", end, shape) for end in bounds)
        mask = None if mutable is None else _fitted("mutable", mutable, shape).bool()
        _check_order(low, high, mask)
        return cls(low, high, None if mask is None or mask.all() else mask)

    @property
    def arguments(self) -> tuple[FeatureBounds, Mask | None]:
        """What :meth:`of` makes it from: plain numbers, in nested tuples where features differ."""
        mask = None if self.mutable is None else self.mutable.tolist()
        return checked_feature_bounds((self.low.tolist(), self.high.tolist())), checked_mask(mask)

    @property
    def uniform(self) -> bool:
        """Whether all features have the same bounds."""
        return not (self.low.ndim or self.high.ndim)

    @property
    def plain(self) -> bool:
        """Whether two numbers say it all."""
        return self.uniform and self.mutable is None

    @property
    def hull(self) -> Bounds:
        """The smallest and the largest value of any feature."""
        return self.low.min().item(), self.high.max().item()

    def to(self, inputs: Tensor) -> "Box":
        """The same on the device and in the precision of inputs."""
        mask = self.mutable if self.mutable is None else self.mutable.to(inputs.device)
        return Box(self.low.to(inputs), self.high.to(inputs), mask)

    def spans(self, inputs: Tensor) -> Tensor:
        """How far each feature that may change can go, ``(features that may change,)``.

        Args:
            inputs: One sample.
        """
        spans = (self.high - self.low).to(inputs).broadcast_to(inputs.shape)
        return spans[self.mask(inputs).reshape_as(spans)]

    def mask(self, inputs: Tensor) -> Tensor:
        """Which numbers of one sample may change, flat."""
        if self.mutable is None:
            return inputs.new_ones(inputs.numel(), dtype=torch.bool)
        return self.mutable.to(inputs.device).broadcast_to(inputs.shape).flatten()

    def around(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest values that an attacker may give to inputs ``(n, ...)``."""
        low, high = self.low.to(inputs), self.high.to(inputs)
        if self.mutable is None:
            return low, high
        mutable = self.mutable.to(inputs.device)
        return torch.where(mutable, low, inputs), torch.where(mutable, high, inputs)

    def followed(self, gradient: Gradient) -> Gradient:
        """The gradient with nothing in it for features that may not change."""
        mutable = self.mutable
        if mutable is None:
            return gradient

        def masked(loss: Tensor, inputs: Tensor) -> Tensor:
            found = gradient(loss, inputs)
            return torch.where(mutable.to(found.device), found, 0)

        return masked

    def widened(self, outputs: Tensor) -> "Box":
        """A box that holds all of `outputs` ``(N, ...)`` as well."""
        lowest = outputs.min() if self.uniform else outputs.amin(dim=0)
        highest = outputs.max() if self.uniform else outputs.amax(dim=0)
        return replace(
            self,
            low=torch.minimum(self.low.to(lowest), lowest),
            high=torch.maximum(self.high.to(highest), highest),
        )

    def __str__(self) -> str:
        low, high = self.hull
        return f"({low:g}, {high:g})" + ("" if self.uniform else " over all features")


def _fitted(name: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    """A number as it is; numbers of features spread over a sample's shape."""
    try:
        tensor = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{name}= is of no shape: {error}") from error
    if not tensor.ndim:
        return tensor
    try:
        return tensor.broadcast_to(shape)
    except RuntimeError:
        raise ContractError(
            f"{name}= has shape {tuple(tensor.shape)}, a sample has {shape}: expected a shape "
            "that broadcasts to it, such as one entry a feature, or (C, 1, 1) for images (C, H, W)"
        ) from None


def _check_order(low: Tensor, high: Tensor, mask: Tensor | None) -> None:
    """A feature with one value is a constant; a box without any other holds nothing to attack."""
    reversed_ = (low > high).nonzero()
    if len(reversed_):
        place = tuple(reversed_[0].tolist())
        smallest, largest = (e[place].item() if e.ndim else e.item() for e in (low, high))
        raise ContractError(
            f"bounds of feature {place} are ({smallest:g}, {largest:g}): expected all smallest "
            "values first, then all largest, as in ([0, 0, 0], [1, 5, 255])"
        )
    fixed = low == high
    if mask is not None and bool(mask.any()):
        fixed = fixed | ~mask
    if bool(fixed.all()):
        raise ContractError("bounds leave every feature a single value: there is nothing to attack")
