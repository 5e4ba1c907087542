"""Answers to batches of any size, also from a model that refuses small ones."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from pytest_aerobust.errors import AerobustError

Part = Callable[[Tensor], Tensor]


class Batches:
    """Asks a model or a filter about batches of all sizes.

    Samples retire one by one, so the engine asks about fewer than the user ever does, and a
    `squeeze` loses the batch of one. Where a small batch is refused, copies of its samples fill it
    up to a size that is answered.

    Args:
        name: What notes call who is asked.
        usual: The size of a batch in the clean pass.
    """

    def __init__(self, name: str, usual: int = 2) -> None:
        self._name, self._usual = name, usual
        # Batches that were refused, and the size in which they are asked instead.
        self._filled: dict[int, int] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Which batches were filled up."""
        if not self._filled:
            return ()
        sizes = ", ".join(map(str, sorted(self._filled)))
        return (
            f"the {self._name} does not answer batches of {sizes} (a squeeze or a fixed size in "
            "it?): they were filled up with copies, whose answers don't count",
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
        own = self._filled.get(samples, samples)
        others = [size for size in (2, self._usual) if size > own and (samples == 1 or size != 2)]
        try:
            return _filled(part, inputs, own)
        except AerobustError as refusal:
            for size in others:
                with suppress(AerobustError):
                    answers = _filled(part, inputs, size)
                    self._filled[samples] = size
                    return answers
            raise refusal


def _filled(part: Part, inputs: Tensor, size: int) -> Tensor:
    """What a part makes of inputs that copies of them follow, up to `size` samples."""
    samples = len(inputs)
    if size == samples:
        # What an attack makes of samples may have other strides than they have.
        return part(inputs.clone(memory_format=torch.contiguous_format))
    rows = torch.arange(samples, size, device=inputs.device) % samples
    # Detached, as no copy is to add to the gradient of its original.
    return part(torch.cat([inputs, inputs.detach()[rows]]))[:samples]
