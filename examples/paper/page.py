"""The page: every table and figure of the paper, each from what the contracts measured."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from cells import ATTACKS, USUAL, Cell
from illustrations import Illustration, illustrations
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from published import LARGEST_DROP, NATURAL, NON_NATURAL, claim
from trained import CLASSIFIERS, FILTERS, Trained
from why import Experiment

from pytest_aerobust import figures

THREATS = {
    "test_behind_the_filter": "behind the filter",
    "test_who_does_not_know_the_filter": "gray-box",
    "test_who_knows_the_filter": "white-box",
}
_LIBRARIES = ("torch", "foolbox", "pytorch-lightning", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Row:
    """One cell of the paper at the usual budget of its classifier."""

    kind: str
    attack: str
    filter: str
    paper: str
    bare: str
    bare_clean: str
    clean: str
    measured: dict[str, str]
    verdicts: dict[str, str]


class Measured:
    """The cells, found by what they are."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = list(cells)

    def of(self, **wanted: object) -> list[Cell]:
        """Cells with these attributes, by budget."""
        found = [
            cell
            for cell in self.cells
            if all(getattr(cell, name) == value for name, value in wanted.items())
        ]
        return sorted(found, key=lambda cell: cell.evaluation.eps)

    def usual(self, **wanted: object) -> Cell | None:
        """The one cell at the usual budget of its classifier; None where it was not run."""
        found = [c for c in self.of(**wanted) if c.evaluation.eps == USUAL[c.kind]]
        return found[0] if found else None

    def rows(self) -> list[Row]:
        """The table of what is true: classifier, attack, filter."""
        return [
            self._row(kind, attack, name)
            for kind in CLASSIFIERS
            for attack in ATTACKS
            for name in FILTERS
        ]

    def _row(self, kind: str, attack: str, name: str) -> Row:
        where = {"kind": kind, "attack": attack}
        found = {
            threat: self.usual(test=test, filter=name, **where) for test, threat in THREATS.items()
        }
        bare = self.usual(test="test_no_filter", **where)
        return Row(
            kind,
            attack,
            name,
            claim(name, kind, attack),
            _accuracy(bare),
            _clean(bare),
            _clean(found["white-box"]),
            {threat: _accuracy(cell) for threat, cell in found.items()},
            {threat: cell.verdict if cell else "not run" for threat, cell in found.items()},
        )


def _accuracy(cell: Cell | None) -> str:
    return "not run" if cell is None else f"{cell.evaluation.pipeline.accuracy:.3f}"


def _clean(cell: Cell | None) -> str:
    return "not run" if cell is None else f"{cell.evaluation.pipeline.clean_accuracy:.3f}"


def write_page(path: Path, trained: Trained, cells: Sequence[Cell]) -> None:
    """Write the page, and beside it the table of what is true as Markdown."""
    measured = Measured(cells)
    with trained.shown():
        drawn = list(illustrations(trained, measured))
        found = Experiment(trained).findings()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(
        data=type(trained.data).__name__,
        rows=measured.rows(),
        threats=list(THREATS.values()),
        usual=USUAL,
        largest_drop=LARGEST_DROP,
        targets=_targets(measured),
        findings=found,
        one_classifier=_one_classifier(measured),
        every=sorted(cells, key=_place),
        sections=_sections(drawn),
        versions={name: version(name) for name in _LIBRARIES},
    )
    _replace(path, html)
    _replace(path.with_suffix(".md"), markdown(measured))


def markdown(measured: Measured) -> str:
    """The table of what is true, one line a classifier and attack."""
    lines = [
        "| classifier, attack | no filter | " + " | ".join(FILTERS) + " |",
        "|---" * (len(FILTERS) + 2) + "|",
    ]
    rows = {(row.kind, row.attack, row.filter): row for row in measured.rows()}
    for kind in CLASSIFIERS:
        clean = [rows[kind, next(iter(ATTACKS)), name] for name in FILTERS]
        told = [clean[0].bare_clean, *(row.clean for row in clean)]
        lines.append(f"| {kind}, no attack | " + " | ".join(told) + " |")
        for attack in ATTACKS:
            cells = [rows[kind, attack, name] for name in FILTERS]
            told = (" / ".join([row.paper or "–", *row.measured.values()]) for row in cells)
            lines.append(f"| {kind}, {attack} | {cells[0].bare} | " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"


def _targets(measured: Measured) -> list[tuple[str, str, Sequence[int | None]]]:
    """Figure 16: the paper's targets and those that were derived here, of the regression."""
    told = []
    for rule, published in (("natural", NATURAL), ("non-natural", NON_NATURAL)):
        cell = measured.usual(test="test_no_filter", kind="regression", attack=f"{rule} targets")
        told.append((rule, "paper", published))
        if cell is not None:
            told.append((rule, "measured", cell.evaluation.targets or ()))
    return told


def _one_classifier(measured: Measured) -> list[Cell]:
    return sorted((c for c in measured.cells if c.test.startswith("test_one")), key=_place)


def _place(cell: Cell) -> tuple[str, str, str, str, float]:
    return (cell.kind, cell.filter or "", cell.test, cell.attack, cell.evaluation.eps)


def _sections(drawn: Sequence[Illustration]) -> dict[str, list[dict[str, str]]]:
    """Illustrations by their section, each as what the page shows of it."""
    sections: dict[str, list[dict[str, str]]] = {}
    for each in drawn:
        image = base64.b64encode(figures.to_png(each.figure)).decode("ascii")
        told = {"number": each.number, "caption": each.caption, "paper": each.paper}
        sections.setdefault(each.section, []).append({**told, "image": image})
    return sections


def _replace(path: Path, text: str) -> None:
    """Write whole or not at all: a reader may hold the page open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
