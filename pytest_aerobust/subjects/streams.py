"""Random numbers of the asked side's own, apart from those that an attacker draws."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.random import mtrand

from pytest_aerobust.subjects.state import seed_globals


class Stream:
    """What one side draws from the global generators of Python, NumPy and torch.

    A model that seeds them would otherwise hand the attacker the same numbers after each
    question, and one that draws from them would shift his. While the stream is resumed they go on
    from where it stopped, so a random side stays random; afterwards they are where they were.

    Args:
        seed: Where the stream starts.
    """

    def __init__(self, seed: int) -> None:
        self._seed: int | None = seed
        self._running = False
        self._python = random.getstate()
        # In its own bit generator, as NumPy's whole state takes longer to copy than a small model
        # to answer.
        self._numpy: np.random.BitGenerator = np.random.MT19937(0)
        self._torch: list[torch.Tensor] = []

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """The stream in place of the global generators; inside itself it just goes on."""
        if self._running:
            yield
            return
        python, numpy, tensors = random.getstate(), mtrand.get_bit_generator(), _torch_states()
        self._running = True
        try:
            self._take_over()
            yield
        finally:
            self._python, self._torch = random.getstate(), _torch_states()
            self._numpy = mtrand.get_bit_generator()
            random.setstate(python)
            mtrand.set_bit_generator(numpy)
            _set_torch_states(tensors)
            self._running = False

    def _take_over(self) -> None:
        mtrand.set_bit_generator(self._numpy)
        if self._seed is None:
            random.setstate(self._python)
            _set_torch_states(self._torch)
        else:
            seed_globals(self._seed)
            self._seed = None


def _torch_generators() -> list[torch.Generator]:
    # CUDA's appear once it is initialised, which moving a model there has done.
    return [torch.default_generator, *torch.cuda.default_generators]


def _torch_states() -> list[torch.Tensor]:
    return [generator.get_state() for generator in _torch_generators()]


def _set_torch_states(states: list[torch.Tensor]) -> None:
    for generator, state in zip(_torch_generators(), states, strict=False):
        generator.set_state(state)
