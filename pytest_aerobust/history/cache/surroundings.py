"""What a number depends on beside model, attack and data: versions, and torch's switches."""

import platform
from functools import cache
from operator import attrgetter
from pathlib import Path

import eagerpy
import foolbox
import hypothesis
import numpy as np
import scipy
import torch

from pytest_aerobust.history.cache.identity import file_digest

_LIBRARIES = (torch, foolbox, eagerpy, np, scipy, hypothesis)
# Of `torch.backends`. How exact products of float32 numbers are is none: each run computes them
# in full.
_BACKENDS = (
    *("mkldnn.enabled", "mkldnn.deterministic"),
    "cuda.matmul.allow_fp16_accumulation",
    "cuda.matmul.allow_fp16_reduced_precision_reduction",
    "cuda.matmul.allow_bf16_reduced_precision_reduction",
    *("cudnn.enabled", "cudnn.deterministic", "cudnn.benchmark"),
    "quantized.engine",
)
# Too small for a normal float32.
_DENORMAL = 1e-40


def surroundings() -> tuple[str, ...]:
    """What a measurement is kept under beside its subject, this package's own code included."""
    return (*_installed(), *_switches())


@cache
def _installed() -> tuple[str, ...]:
    own = sorted(Path(__file__).parents[2].rglob("*.py"))
    return (
        platform.python_version(),
        platform.machine(),
        *(f"{library.__name__} {library.__version__}" for library in _LIBRARIES),
        *(file_digest(path) for path in own),
    )


def _switches() -> tuple[str, ...]:
    """How torch computes in this process, as far as that is more than rounding.

    The number of threads is left out: it differs from worker to worker.
    """
    told = (
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        *(torch.get_autocast_dtype(device) for device in ("cpu", "cuda")),
        # Nothing tells whether denormal numbers are flushed but such a number.
        (torch.tensor(_DENORMAL, dtype=torch.float32, device="cpu") * 1).item() != 0,
        *(attrgetter(name)(torch.backends) for name in _BACKENDS),
    )
    return tuple(map(str, told))
