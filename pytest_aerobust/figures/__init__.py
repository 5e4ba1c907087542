"""What people look at: evaluations and their examples as matplotlib figures.

Needs the extra ``pytest-aerobust[figures]``. Every function builds a
:class:`matplotlib.figure.Figure` of its own: pyplot is not imported and no backend is chosen. A
notebook under matplotlib's inline backend shows such a figure as the last value of a cell;
:func:`to_png` gives the bytes for a page.
"""

from pytest_aerobust.figures.extra import from_extra

with from_extra():
    from pytest_aerobust.figures.classes import (
        class_report,
        class_scores,
        confusion,
        confusion_with_report,
        mispredictions,
    )
    from pytest_aerobust.figures.curves import accuracy_curves, loss_histories
    from pytest_aerobust.figures.drawing import to_png
    from pytest_aerobust.figures.images import counterexamples, image_grid, reconstructions
    from pytest_aerobust.figures.latent import latent_plane, latent_points

__all__ = [
    "accuracy_curves",
    "class_report",
    "class_scores",
    "confusion",
    "confusion_with_report",
    "counterexamples",
    "image_grid",
    "latent_plane",
    "latent_points",
    "loss_histories",
    "mispredictions",
    "reconstructions",
    "to_png",
]
