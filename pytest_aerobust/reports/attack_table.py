"""The catalogue for people: what `pytest --aerobust-attacks` prints."""

import textwrap
from collections.abc import Mapping, Sequence

from pytest_aerobust.contract.catalogue import FILTER_THREATS, PACKAGES, PLAIN, REFUSED, AttackSpec

_COLUMNS = ("name", "norms", "asks for", "threat", "target", "finds", "classes of Foolbox")
_ASKS = {"gradient": "gradients", "score": "scores", "decision": "decisions"}
_GAP = "  "
# Names of classes are up to 49 letters long: on a narrower terminal they run over its edge.
_NARROWEST_CLASSES = 50


def attack_table(width: int) -> str:
    """The attacks by their plain names, then those that are refused, as lines for a terminal.

    Args:
        width: Columns of the terminal; the last column is wrapped to fit.
    """
    rows = [_COLUMNS, *map(_cells, PLAIN.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS) - 1)]
    lines = [line for row in rows for line in _aligned(row, widths, width)]
    return "\n".join([*lines, "", *_legend(width), "", *_refusals(REFUSED, width)])


def _cells(row: AttackSpec) -> tuple[str, ...]:
    return (
        row.name,
        " ".join(row.norms),
        _ASKS[row.access],
        row.threats[0],
        row.target,
        "the smallest" if row.minimises else "within eps",
        " ".join(row.foolbox) or "-",
    )


def _aligned(row: Sequence[str], widths: Sequence[int], width: int) -> list[str]:
    """One row, its last cell wrapped under itself."""
    cells = (cell.ljust(size) for cell, size in zip(row, widths, strict=False))
    start = "".join(cell + _GAP for cell in cells)
    room = max(width - len(start), _NARROWEST_CLASSES)
    first, *rest = textwrap.wrap(row[-1], room, break_long_words=False)
    return [start + first, *(" " * len(start) + line for line in rest)]


def _legend(width: int) -> list[str]:
    filtered = " and ".join(f"{threat} ({words})" for threat, words in FILTER_THREATS.items())
    needs = "".join(f" {name} needs the package {package}." for name, package in PACKAGES.items())
    return textwrap.wrap(
        "The first norm and the threat shown are taken where a mark states none; behind a filter "
        f"every attack also runs under {filtered}. target: whether it takes one. finds: an "
        "example within eps, or the smallest perturbation, which then is held against eps. Each "
        f"class of Foolbox is also an attack by its own name.{needs}",
        width,
    )


def _refusals(refused: Mapping[str, str], width: int) -> list[str]:
    entries = [f"{name}: {reason}" for name, reason in refused.items()]
    wrapped = [
        textwrap.wrap(entry, width, initial_indent="  ", subsequent_indent="    ")
        for entry in entries
    ]
    return ["refused:", *(line for lines in wrapped for line in lines)]
