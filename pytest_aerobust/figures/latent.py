"""The plane of two latent numbers: where samples lie in it, and points to draw it from."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from torch import Tensor

from pytest_aerobust.contract.arguments import checked_count
from pytest_aerobust.errors import ContractError
from pytest_aerobust.figures.drawing import (
    COLOURS,
    MARKERS,
    as_array,
    entitle,
    legend,
    new_figure,
    short,
)

# More classes make no legend that anyone reads.
_LISTED = 20


def latent_plane(codes: Any, labels: Any, classes: Sequence[str] | None = None) -> Figure:
    """Codes of two numbers as points, with the name of each class at its median.

    Args:
        codes: ``(N, 2)``, finite.
        labels: Classes from 0, ``(N,)``.
        classes: Name of each class from 0; its number by default.

    Raises:
        ContractError: There is nothing to draw, shapes don't fit, a code is not finite, or a label
            has no name.
    """
    points, owners = as_array(codes), as_array(labels)
    _check_plane(points, owners, classes)
    figure = new_figure(6.4, 6.0)
    axes = figure.subplots()
    present = [int(owner) for owner in np.unique(owners)]
    names = [str(owner) if classes is None else short(classes[owner]) for owner in present]
    drawn = [_draw_cluster(axes, points[owners == owner], owner) for owner in present]
    for owner, name in zip(present, names, strict=True):
        _name_cluster(axes, np.median(points[owners == owner], axis=0), name)
    if len(names) <= _LISTED:
        legend(figure, drawn, names, columns=5)
    axes.set(xlabel="first latent number", ylabel="second latent number")
    entitle(figure, f"latent plane, {len(points)} samples")
    return figure


def latent_points(size: int, margin: float = 0.05) -> Tensor:
    """Points of the latent plane at regular intervals of probability.

    A regular grid of the unit square through the inverse distribution function of the Gaussian, as
    in Kingma and Welling (2014), appendix A. Rows run from the largest second number to the
    smallest: decoded, ``image_grid(images, columns=size)`` shows the plane as
    :func:`latent_plane` does.

    Args:
        size: Points in a row and in a column, 2 or more.
        margin: Probability left out at either end, between 0 and 0.5.

    Returns:
        Float32 ``(size * size, 2)``.

    Raises:
        ContractError: A size or margin outside its range.
    """
    checked_count("size", size, least=2)
    if not 0 < margin < 0.5:
        raise ContractError(f"margin={margin}: expected a number between 0 and 0.5")
    shares = np.linspace(margin, 1 - margin, size)
    steps = torch.tensor([NormalDist().inv_cdf(share) for share in shares])
    second, first = torch.meshgrid(steps.flip(0), steps, indexing="ij")
    return torch.stack([first, second], dim=-1).reshape(-1, 2)


def _check_plane(points: np.ndarray, owners: np.ndarray, classes: Sequence[str] | None) -> None:
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ContractError(
            f"codes have shape {points.shape}: expected (N, 2), two latent numbers a sample"
        )
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        raise ContractError(f"{bad} of {len(points)} codes are NaN or infinite: expected none")
    if owners.shape != (len(points),) or owners.dtype.kind not in "iu" or owners.min() < 0:
        raise ContractError(
            f"labels are {owners.dtype} of shape {owners.shape}: expected {len(points)} classes "
            "from 0"
        )
    if classes is not None and owners.max() >= len(classes):
        raise ContractError(f"a label is {owners.max()}, but there are {len(classes)} classes")


def _draw_cluster(axes: Axes, cluster: np.ndarray, owner: int) -> PathCollection:
    return axes.scatter(
        cluster[:, 0],
        cluster[:, 1],
        s=18,
        alpha=0.7,
        linewidths=0,
        color=COLOURS[owner % len(COLOURS)],
        marker=MARKERS[owner % len(MARKERS)],
    )


def _name_cluster(axes: Axes, place: np.ndarray, name: str) -> None:
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "gray", "alpha": 0.8}
    axes.text(
        place[0], place[1], name, ha="center", va="center", fontsize=8, parse_math=False, bbox=box
    )
