"""Everything that a run borrows and gives back as it was."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.random import mtrand
from torch import nn

from pytest_aerobust.subjects.precision import full_float32
from pytest_aerobust.subjects.tensors import plain_parts, same_content


@contextmanager
def kept_buffers(modules: list[nn.Module]) -> Iterator[None]:
    """Whatever is done to the modules' buffers, afterwards they are the same, and hold the same."""
    buffers = [
        (part, name, buffer, buffer.detach().clone())
        for module in modules
        for part in module.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for part, name, buffer, content in buffers:
            # Forward may have put another tensor in its place, of whatever shape.
            part._buffers[name] = buffer
            # Written only where it changed: a frozen or shared buffer stays untouched.
            if not same_content(buffer, content):
                with torch.no_grad():
                    buffer.copy_(content)


def digest(modules: Iterable[nn.Module]) -> tuple[int, ...]:
    """One number for each weight and buffer, in this process another one wherever a bit differs."""
    tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    return tuple(_hash(part) for tensor in tensors for part in plain_parts(tensor.detach()))


def _hash(tensor: torch.Tensor) -> int:
    return hash(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


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
