"""Everything that a run borrows and gives back as it was."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

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
