"""Everything that a run borrows and gives back as it was."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.random import mtrand
from torch import nn


@contextmanager
def borrowed(modules: list[nn.Module], device: torch.device) -> Iterator[None]:
    """Modules in eval mode, frozen and on `device`; afterwards as they were.

    Parameters need no gradient during the run: that halves the work of a backward pass and
    keeps ``.grad`` untouched. Every submodule has its own mode, and each comes back.
    """
    parts = [part for module in modules for part in module.modules()]
    training = [part.training for part in parts]
    parameters = [p for module in modules for p in module.parameters()]
    needs_gradient = [p.requires_grad for p in parameters]
    homes = [_homes(module) for module in modules]
    with kept_buffers(modules):
        try:
            for module in modules:
                module.eval()
                module.to(device)
            for parameter in parameters:
                parameter.requires_grad_(False)
            yield
        finally:
            for module, home in zip(modules, homes, strict=True):
                _send_home(module, home)
            for parameter, needed in zip(parameters, needs_gradient, strict=True):
                parameter.requires_grad_(needed)
            for part, mode in zip(parts, training, strict=True):
                part.training = mode


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
            if not torch.equal(buffer, content):
                with torch.no_grad():
                    buffer.copy_(content)


def digest(modules: Iterable[nn.Module]) -> tuple[int, ...]:
    """One number for each weight and buffer, another one wherever a bit differs."""
    tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    return tuple(_hash(tensor.detach()) for tensor in tensors)


def _hash(tensor: torch.Tensor) -> int:
    content = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def _homes(module: nn.Module) -> torch.device | None:
    tensors = (*module.parameters(), *module.buffers())
    return next((t.device for t in tensors), None)


def _send_home(module: nn.Module, home: torch.device | None) -> None:
    if home is not None and home != _homes(module):
        module.to(home)


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Global random state seeded and torch's modes lifted; afterwards as they were.

    The generators are Python's, NumPy's and torch's. An outer ``no_grad``, ``inference_mode`` or
    ``autocast`` is lifted: attacks need gradients, verification full precision, and a verdict
    must not depend on where it was asked for.
    """
    with (
        generators(seed),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
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
