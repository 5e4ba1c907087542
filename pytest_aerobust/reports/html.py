"""A run as one page that holds everything itself: no script, nothing remote."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pytest_aerobust.reports.facts import facts
from pytest_aerobust.reports.pictures import Drawing, confusion, curves
from pytest_aerobust.reports.rows import PAGE_COLUMNS, WORDS, notes
from pytest_aerobust.reports.run import HEADINGS, SIGNS, Checked, Run

# Each takes about half a second and 50 kB.
_MOST_FIGURES = 60
_WEIGHTS = {
    "sound": "✓ ok",
    "void": "✗ VOID",
    "noted": "! note",
    "skipped": "– skipped",
    "waived": "– waived",
}


@dataclass(frozen=True)
class _Section:
    """A contract with what is drawn of it."""

    checked: Checked
    facts: Sequence[tuple[str, str]]
    confusion: Drawing | None


def render(run: Run) -> str:
    """The text of the file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        run=run,
        heading=HEADINGS[run.verdict],
        signs=SIGNS,
        columns=PAGE_COLUMNS,
        words=WORDS,
        weights=_WEIGHTS,
        curves=[*islice(curves(run.contracts), _MOST_FIGURES)],
        sections=_sections(run),
        most_figures=_MOST_FIGURES,
        notes=notes([checked.result for checked in run.contracts]),
    )


def _sections(run: Run) -> list[_Section]:
    drawn = {id(checked) for checked in islice(filter(_is_broken, run.contracts), _MOST_FIGURES)}
    return [
        _Section(
            checked,
            list(facts(checked.result)),
            confusion(checked.evaluation) if id(checked) in drawn else None,
        )
        for checked in run.contracts
    ]


def _is_broken(checked: Checked) -> bool:
    return checked.broken
