"""Random numbers: whose they are, where they start, and that nobody else notices."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch
from numpy.random import mtrand

from pytest_aerobust.subjects.precision import full_float32


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Global random state seeded and torch's modes lifted; afterwards as they were.

    The generators are Python's, NumPy's and torch's. An outer ``no_grad``, ``inference_mode`` or
    ``autocast`` is lifted, and so is what makes products of float32 numbers less exact: attacks
    need gradients, verification full precision, and a verdict must not depend on where it was
    asked for.
    """
    with (
        generators(seed),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        full_float32(),
    ):
        yield


@contextmanager
def generators(seed: int) -> Iterator[None]:
    """The global generators seeded; afterwards as they were."""
    python, bits, numpy = random.getstate(), mtrand.get_bit_generator(), np.random.get_state()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        try:
            seed_globals(seed)
            yield
        finally:
            random.setstate(python)
            mtrand.set_bit_generator(bits)
            np.random.set_state(numpy)


def seed_globals(seed: int) -> None:
    """Seed the three global generators that models and stock attacks may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch.accelerator.is_available():
        torch.manual_seed(seed % 2**63)
    else:
        # The same, without the stack trace that torch keeps for devices that may yet wake up.
        torch.default_generator.manual_seed(seed % 2**63)


class Use(IntEnum):
    """What random numbers are for: each use has a stream of its own."""

    SEARCH = 0
    NOISE = 1
    PROBLEM = 2
    START = 3
    DISTURBANCE = 4


def sample_generator(
    seed: int, sample: int, use: Use = Use.SEARCH, restart: int = 0
) -> np.random.Generator:
    """Random numbers of one sample alone: Philox is keyed, not drawn from in turn."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, use, restart, sample]))


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


def seed_of(*words: object) -> int:
    """A seed, below 2**64, for whatever the words name; other words have nothing in common."""
    text = "/".join(map(str, words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
