"""Images as they come on a bad day: turned, moved, blurred, pale, dark or noisy."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from pytest_aerobust.contract.disturbances import DISTURBANCES, Disturbances, Severity
from pytest_aerobust.errors import DataError
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.randomness import Use, sample_generator

# Channels that an image with its channels last may have.
_CHANNELS = (1, 3, 4)


def disturbed(samples: Samples, disturbances: Disturbances, bounds: Box, seed: int) -> Samples:
    """The same samples after all disturbances, cut at the bounds; what may not change stays.

    Args:
        samples: Images ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``; of any shape where
            nothing moves pixels.
        disturbances: Severities in the order in which they are applied.
        bounds: Where each feature may be.
        seed: Seed of the noise, of which each sample draws its own.

    Raises:
        DataError: Pixels are to be moved in what is no image.
    """
    inputs = samples.inputs
    array = inputs.detach().cpu().numpy()
    moving = [name for name, _ in disturbances if DISTURBANCES[name].geometric]
    plane = _plane(array.shape, moving)
    for name, severity in disturbances:
        if set(severity) == {DISTURBANCES[name].neutral}:
            continue  # what changes nothing must not round, either
        if name == "noise":
            array = array + severity[0] * _noise(samples, seed)
        else:
            array = _APPLIED[name](array, severity, plane)
    moved = torch.from_numpy(np.ascontiguousarray(array)).to(inputs)
    return replace(samples, inputs=moved.clamp(*bounds.around(inputs)))


def _plane(shape: tuple[int, ...], moving: list[str]) -> tuple[int, int]:
    """The axes of rows and columns."""
    if moving and len(shape) not in (3, 4):
        still = ", ".join(name for name, kind in DISTURBANCES.items() if not kind.geometric)
        raise DataError(
            f"{moving[0]} moves pixels, but a sample has the shape {tuple(shape[1:])}: expected "
            f"images (N, C, H, W) or (N, H, W). For other data there are {still}"
        )
    last = len(shape) == 4 and shape[3] in _CHANNELS and shape[1] not in _CHANNELS
    return (1, 2) if last or len(shape) == 3 else (2, 3)


def _rotated(array: np.ndarray, severity: Severity, plane: tuple[int, int]) -> np.ndarray:
    rows, columns = plane
    turned: np.ndarray = ndimage.rotate(
        array, severity[0], axes=(columns, rows), reshape=False, order=1, mode="nearest"
    )
    return turned


def _shifted(array: np.ndarray, severity: Severity, plane: tuple[int, int]) -> np.ndarray:
    steps = np.zeros(array.ndim)
    steps[list(plane)] = severity
    moved: np.ndarray = ndimage.shift(array, steps, order=1, mode="nearest")
    return moved


def _blurred(array: np.ndarray, severity: Severity, plane: tuple[int, int]) -> np.ndarray:
    soft: np.ndarray = ndimage.gaussian_filter(array, severity[0], mode="nearest", axes=plane)
    return soft


def _contrasted(array: np.ndarray, severity: Severity, plane: tuple[int, int]) -> np.ndarray:
    mean = array.mean(axis=tuple(range(1, array.ndim)), keepdims=True)
    flat: np.ndarray = mean + severity[0] * (array - mean)
    return flat


def _brightened(array: np.ndarray, severity: Severity, plane: tuple[int, int]) -> np.ndarray:
    return array + severity[0]


def _noise(samples: Samples, seed: int) -> np.ndarray:
    shape = samples.inputs.shape[1:]
    draws = (sample_generator(seed, int(number), Use.DISTURBANCE) for number in samples.ids)
    return np.stack([draw.standard_normal(shape) for draw in draws])


_APPLIED: dict[str, Callable[[np.ndarray, Severity, tuple[int, int]], np.ndarray]] = {
    "rotation": _rotated,
    "shift": _shifted,
    "blur": _blurred,
    "contrast": _contrasted,
    "brightness": _brightened,
}
