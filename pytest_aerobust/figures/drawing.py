"""What all figures share: sizes, colours, titles, heat maps, and the bytes of a page."""

import textwrap
from collections.abc import Iterable, Sequence
from copy import deepcopy
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from torch import Tensor

# Okabe and Ito (2008), told apart by colour-blind readers; their yellow is lost on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# One more than colours: 56 pairs come before one repeats.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_DPI = 150
_TITLE_SIZE = 10
# At that size so many characters fit an inch.
_CHARACTERS = 12.5
# Longer names of classes are cut.
_NAME = 20
# More names than this don't fit an axis: every second is drawn, or every third, ...
_TICKS = 50
# Characters below an axis before names stand upright.
_ACROSS = 45
# Luminance at which black and white have the same contrast (WCAG 2.2, definition of contrast).
_MIDDLE = 0.18


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; nothing in it overlaps."""
    return Figure(figsize=(width, height), layout="constrained")


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG for a page, 150 dots an inch.

    The same figure gives the same bytes under the same matplotlib: no date or version is written.
    """
    written = BytesIO()
    # A copy: the layout starts from where the last one ended, so a second drawing would differ.
    deepcopy(figure).savefig(written, format="png", dpi=_DPI, metadata={"Software": None})
    return written.getvalue()


def as_array(values: Any) -> np.ndarray:
    """A tensor on any device, an array or a list as an array."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def entitle(figure: Figure, title: str) -> None:
    """A title as wide as the figure at most."""
    width = int(_CHARACTERS * figure.get_figwidth())
    lines = [part for line in title.splitlines() for part in textwrap.wrap(line, width)]
    figure.suptitle("\n".join(lines), fontsize=_TITLE_SIZE, parse_math=False)


def short(name: str) -> str:
    """A name that fits beside an axis, in one line."""
    line = " ".join(name.split())
    return line if len(line) <= _NAME else f"{line[: _NAME - 1]}…"


def name_ticks(axes: Axes, across: Sequence[str], down: Sequence[str]) -> None:
    """Names of columns and rows, drawn literally, whatever is in them."""
    step, size = 1 + (len(across) - 1) // _TICKS, 9 if len(across) <= 20 else 6
    literal: dict[str, Any] = {"parse_math": False, "fontsize": size}
    columns, rows = [short(name) for name in across], [short(name) for name in down]
    crowded = len(columns) * max(map(len, columns)) > _ACROSS
    axes.set_xticks(
        range(0, len(columns), step), columns[::step], rotation=90 if crowded else 0, **literal
    )
    axes.set_yticks(range(0, len(rows), step), rows[::step], **literal)


def heatmap(axes: Axes, values: np.ndarray, colours: str, largest: float) -> AxesImage:
    """Values from 0 to `largest` as cells; those that are masked stay grey."""
    image = axes.imshow(values, cmap=colours, vmin=0, vmax=largest, interpolation="nearest")
    image.set_cmap(image.get_cmap().with_extremes(bad="#e8e8e8"))
    axes.tick_params(length=0)
    return image


def write_cells(
    axes: Axes, image: AxesImage, texts: dict[tuple[int, int], str], size: float
) -> None:
    """Text in cells (row, column), black or white by what is behind it."""
    behind = image.to_rgba(np.ma.asarray(image.get_array()))
    for (row, column), text in texts.items():
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=size,
            color=_readable_on(behind[row, column, :3]),
        )


def _readable_on(colour: np.ndarray) -> str:
    luminance = float(colour**2.2 @ (0.2126, 0.7152, 0.0722))
    return "black" if luminance > _MIDDLE else "white"


def legend(figure: Figure, handles: Sequence[Any], names: Iterable[str], columns: int) -> Legend:
    """A legend below the axes, which never covers what is drawn; names are drawn literally."""
    # Named afterwards: a label that begins with an underscore would be left out.
    box = figure.legend(
        handles,
        ["."] * len(handles),
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        handlelength=3.5,
    )
    for text, name in zip(box.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
    return box
