"""Stored counterexamples judged again: without an attack, by the same independent judge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pytest_aerobust.contract.arguments import checked_statistics
from pytest_aerobust.counterexamples.files import Example, Note, Saved, files_in, load
from pytest_aerobust.counterexamples.rounding import Rounding
from pytest_aerobust.counterexamples.verification import Ball, verify
from pytest_aerobust.errors import ContractError, ModelError
from pytest_aerobust.subjects.randomness import isolated
from pytest_aerobust.subjects.subject import Subject, build_subject, judged_side

Fate = Literal["fooled", "withstood", "invalid"]

_WORDS: dict[Fate, str] = {
    "fooled": "still fooled",
    "withstood": "answered correctly now",
    "invalid": "no adversarial example: outside the ball or the bounds, or not finite",
}
_HEAD = ("sample", "label", "clean", "attacked", "was", "distance", "outcome")


@dataclass(frozen=True)
class ReplayedExample:
    """One stored example, judged again.

    Attributes:
        sample: Place of its original in the data that the test was run on.
        label: Name of the true class.
        clean_answer: Name of the class that the pipeline gives to the original now.
        answer: Name of the class that it gives to the adversarial input now.
        recorded_answer: Name of the class that it gave when the file was written.
        distance: From the original, in the norm of the attack.
        outcome: ``fooled``, verification accepts it again; ``withstood``, the pipeline is right
            about it now; ``invalid``, no attacker of this contract could have sent it.
    """

    sample: int
    label: str
    clean_answer: str
    answer: str
    recorded_answer: str
    distance: float
    outcome: Fate


@dataclass(frozen=True)
class ReplayedContract:
    """The stored examples of one contract, judged again.

    Attributes:
        note: What the file says of them.
        examples: One for each, in the order of the file: the worst first.
    """

    note: Note
    examples: tuple[ReplayedExample, ...]

    @property
    def stored(self) -> int:
        """How many examples the file holds."""
        return len(self.examples)

    @property
    def fooled(self) -> int:
        """How many of them still fool the pipeline."""
        return sum(example.outcome == "fooled" for example in self.examples)

    def __str__(self) -> str:
        """A table for people, with the contract on top."""
        note = self.note
        rows = [
            (
                str(each.sample),
                each.label,
                each.clean_answer,
                each.answer,
                each.recorded_answer,
                f"{each.distance:.4g}",
                _WORDS[each.outcome],
            )
            for each in self.examples
        ]
        told = [
            note.test,
            f"  recorded: {note.headline}",
            *_table([_HEAD, *rows]),
            f"  {self.fooled} of {self.stored} stored examples still fool the pipeline",
        ]
        return "\n".join(map(_printable, told))


@dataclass(frozen=True)
class Replayed:
    """What :func:`replay` finds.

    Attributes:
        contracts: One for each file.
    """

    contracts: tuple[ReplayedContract, ...]

    @property
    def stored(self) -> int:
        """How many examples the files hold."""
        return sum(contract.stored for contract in self.contracts)

    @property
    def fooled(self) -> int:
        """How many of them still fool the pipeline."""
        return sum(contract.fooled for contract in self.contracts)

    def __str__(self) -> str:
        """The tables of all contracts."""
        return "\n\n".join(map(str, self.contracts))


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "    " + "  ".join(cells).rstrip()


def _printable(line: str) -> str:
    """A file's texts are not to be trusted: none may steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in line)


def replay(
    path: str | Path,
    model: Any,
    *,
    filter: Any = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    device: str | None = None,
) -> Replayed:
    """Ask a pipeline about stored counterexamples again, without any attack.

    Each is verified as when it was found: finite, inside the bounds and the ball that the file
    names, and misclassified by the pipeline that is given here; where the test took the mean of
    random answers (`eot`), by the mean of as many.

    Args:
        path: A file that ``--aerobust-examples=DIR`` wrote, or such a folder.
        model: As for :func:`evaluate`.
        filter: In front of the model; needed where the examples were found behind one.
        mean: Subtracted in front of the model; by default what the file says.
        std: Divides what is left, likewise.
        device: Where to run; None stays where the model is.

    Raises:
        ExamplesError: A file that can't be read, with the reason.
        SubjectError: The pipeline can't be asked about these inputs.
        ContractError: An argument that can't be meant, or the filter is missing.
    """
    found = []
    for file in files_in(Path(path)):
        saved = load(file)
        if filter is None and saved.note.arm == "filtered" and not _behind(saved):
            raise ContractError(
                f"{file}: these examples fooled a model behind a filter: give filter=, or "
                "filter=torch.nn.Identity() to ask the bare model"
            )
        subject = build_subject(
            model,
            saved.data,
            filter,
            bounds=saved.note.bounds,
            mutable=saved.note.mutable,
            mean=saved.note.mean if mean is None else checked_statistics("mean", mean),
            std=saved.note.std if std is None else checked_statistics("std", std, positive=True),
            draws=saved.note.draws,
        )
        found.append(judge_again(subject, saved, device))
    return Replayed(tuple(found))


def _behind(saved: Saved) -> bool:
    return saved.note.threat == "behind-filter"


def judge_again(subject: Subject, saved: Saved, device: str | None) -> ReplayedContract:
    """Verify every stored example against a subject's pipeline.

    Args:
        subject: Model and filter; its own samples are not asked about.
        saved: The examples.
        device: Where to run; None stays where the model is.

    Raises:
        ModelError: The model has another number of classes than when they were found.
        SubjectError: Model or filter refuse the inputs.
    """
    note = saved.note
    with isolated(note.seed), subject.borrowed(device) as sides, torch.no_grad():
        side, alike = judged_side(sides, note.threat), sides.samples.inputs
        originals, adversarial = saved.inputs.to(alike), saved.adversarial.to(alike)
        labels = saved.labels.to(alike.device)
        side.settle(side.clean(originals)[1])
        clean = side.judged(originals)
        _check_classes(clean, note)
        ball = Ball(note.norm, note.eps, subject.bounds)
        rounding = Rounding.of(side, originals, clean, ball.aside)
        found = verify(side.judged, originals, adversarial, labels, None, ball, rounding)
        columns = (
            clean.argmax(dim=1),
            torch.where(found.adversarial, found.answers, labels),
            ball.distances(originals, adversarial),
            ball.holds(originals, adversarial),
            found.adversarial,
        )
        rows = zip(note.examples, *(column.tolist() for column in columns), strict=True)
        return ReplayedContract(note, tuple(_judged(note.classes, *row) for row in rows))


def _judged(
    classes: tuple[str, ...],
    stored: Example,
    clean: int,
    answer: int,
    distance: float,
    valid: bool,
    fooled: bool,
) -> ReplayedExample:
    return ReplayedExample(
        sample=stored.sample,
        label=stored.label,
        clean_answer=classes[clean],
        answer=classes[answer] if valid else "-",
        recorded_answer=stored.answer,
        distance=distance,
        outcome="fooled" if fooled else "withstood" if valid else "invalid",
    )


def _check_classes(logits: Tensor, note: Note) -> None:
    if logits.shape[1] != len(note.classes):
        raise ModelError(
            f"model has {logits.shape[1]} classes (logits of shape (N, {logits.shape[1]})), but "
            f"the examples of {note.test} were found on one of {len(note.classes)}: give the "
            "model that the test gives"
        )
