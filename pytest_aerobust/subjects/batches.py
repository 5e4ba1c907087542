"""Answers to batches of any size, also from a model that refuses most of them."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from pytest_aerobust.errors import AerobustError

Part = Callable[[Tensor], Tensor]


class Batches:
    """Asks a model or a filter about batches of all sizes.

    Samples retire one by one, so the engine asks about fewer than the user ever does, and a
    `squeeze` loses the batch of one; and it asks about more at once than a loader may have given.
    Where a batch is refused, it is asked in parts of a size that is answered, and copies of
    samples fill up the last one.

    Args:
        name: What notes call who is asked.
        sizes: Of batches that are likely to be answered.
    """

    def __init__(self, name: str, sizes: tuple[int, ...] = ()) -> None:
        self._name, self._sizes = name, sizes
        # Batches that were refused, and the size in which they are asked instead.
        self._instead: dict[int, int] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Which batches were asked otherwise."""
        if not self._instead:
            return ()
        refused, sizes = (
            ", ".join(map(str, sorted(each))) for each in (self._instead, {*self._instead.values()})
        )
        return (
            f"the {self._name} does not answer batches of {refused} (a squeeze or a fixed size in "
            f"it?): they were asked in batches of {sizes}, filled up with copies, whose answers "
            "don't count",
        )

    def ask(self, part: Part, inputs: Tensor) -> Tensor:
        """One answer for each of the inputs ``(n, ...)``.

        Args:
            part: Raises an AerobustError where it does not answer so many samples. It may write
                into what it is given, which is a copy.
            inputs: The samples.

        Raises:
            AerobustError: No size is answered.
        """
        samples = len(inputs)
        own = self._instead.get(samples, samples)
        pair = (2,) if samples == 1 else ()
        others = [size for size in (*pair, *self._sizes) if size != own]
        try:
            return _in_parts(part, inputs, own)
        except AerobustError as refusal:
            for size in others:
                with suppress(AerobustError):
                    answers = _in_parts(part, inputs, size)
                    self._instead[samples] = size
                    return answers
            raise refusal


def _in_parts(part: Part, inputs: Tensor, size: int) -> Tensor:
    """What a part makes of inputs, `size` samples at a time."""
    if len(inputs) <= size:  # the usual case copies no answers
        return part(_filled(inputs, size))[: len(inputs)]
    return torch.cat([part(_filled(some, size))[: len(some)] for some in torch.split(inputs, size)])


def _filled(inputs: Tensor, size: int) -> Tensor:
    """A copy of inputs that copies of them follow, up to `size` samples."""
    samples = len(inputs)
    if size == samples:
        # What an attack makes of samples may have other strides than they have.
        return inputs.clone(memory_format=torch.contiguous_format)
    rows = torch.arange(samples, size, device=inputs.device) % samples
    # Detached, as no copy is to add to the gradient of its original.
    return torch.cat([inputs, inputs.detach()[rows]])
