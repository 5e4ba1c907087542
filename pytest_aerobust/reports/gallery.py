"""The worst counterexamples of a contract as small pictures, in plain values.

They are drawn where the test ran: the inputs never leave that process.
"""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pytest_aerobust.counterexamples.files import Saved
from pytest_aerobust.figures.extra import from_extra

with from_extra():
    from matplotlib.image import imsave

MOST = 8
# Pixels along the longer side; larger images are averaged down.
LARGEST = 256
_CHANNELS = (1, 3)


def gallery(saved: Saved) -> dict[str, Any]:
    """At most eight examples, the worst first, as PNG in base64.

    Args:
        saved: What is shown.

    Returns:
        ``examples``, a list of ``sample``, ``label``, ``clean_answer``, ``answer``, ``distance``
        and ``pictures`` by name; ``reach``, the change that the perturbations show in full colour;
        and ``left_out``, the reason where there are no pictures.
    """
    named = {"input": saved.inputs, "adversarial": saved.adversarial, "filtered": saved.filtered}
    images = {name: _images(part[:MOST]) for name, part in named.items() if part is not None}
    if any(image is None for image in images.values()):
        shape = tuple(saved.inputs.shape[1:])
        why = f"inputs of shape {shape} are no images with 1 or 3 channels"
        return {"examples": [], "reach": 0.0, "left_out": why}
    shown = {name: image for name, image in images.items() if image is not None}
    change = shown["adversarial"] - shown["input"]
    reach = float(change.abs().max()) or 1.0
    low, high = _limits(saved, shown["input"])
    pictures = {
        "input": _pngs((shown["input"] - low) / (high - low), "gray"),
        "perturbation": _pngs((change / reach + 1) / 2, "RdBu_r"),
        **{
            name: _pngs((image - low) / (high - low), "gray")
            for name, image in shown.items()
            if name != "input"
        },
    }
    examples = [
        {
            "sample": row.sample,
            "label": row.label,
            "clean_answer": row.clean_answer,
            "answer": row.answer,
            "distance": row.distance,
            "pictures": {name: pngs[place] for name, pngs in pictures.items()},
        }
        for place, row in enumerate(saved.note.examples[:MOST])
    ]
    return {"examples": examples, "reach": reach, "left_out": ""}


def _images(samples: Tensor) -> Tensor | None:
    """Images ``(n, C, H, W)`` of a bounded size; None where samples are none."""
    images = samples.detach().cpu().to(torch.float64)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4:
        return None
    if images.shape[1] not in _CHANNELS:
        images = images.permute(0, 3, 1, 2)
    if images.shape[1] not in _CHANNELS:
        return None
    height, width = images.shape[2:]
    shrink = max(height, width) / LARGEST
    if shrink <= 1:
        return images
    size = (max(1, int(height / shrink)), max(1, int(width / shrink)))
    return interpolate(images, size=size, mode="area")


def _limits(saved: Saved, inputs: Tensor) -> tuple[float, float]:
    """What is drawn black and what white: the ends of the bounds, or of the inputs."""
    low, high = (np.asarray(end, dtype=float) for end in saved.note.bounds)
    ends = float(low.min()), float(high.max())
    if not np.isfinite(ends).all():
        ends = float(inputs.min()), float(inputs.max())
    return ends if ends[0] < ends[1] else (ends[0], ends[0] + 1)


def _pngs(images: Tensor, colours: str) -> list[str]:
    return [_png(image, colours) for image in images.clamp(0, 1).numpy()]


def _png(image: np.ndarray, colours: str) -> str:
    """An image ``(C, H, W)`` in [0, 1]; `colours` maps one channel alone."""
    drawn = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    written = BytesIO()
    told: dict[str, Any] = {"format": "png", "metadata": {"Software": None}}
    imsave(written, np.ascontiguousarray(drawn), cmap=colours, vmin=0, vmax=1, **told)
    return base64.b64encode(written.getvalue()).decode("ascii")
