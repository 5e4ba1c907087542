"""Figures of a run for pages, each with words for who can't see it."""

import base64
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from pytest_aerobust.errors import ContractError
from pytest_aerobust.figures import accuracy_curves, to_png
from pytest_aerobust.figures import confusion as confusion_matrix
from pytest_aerobust.reports.run import Checked
from pytest_aerobust.results.arm import WRONG, Arm
from pytest_aerobust.results.evaluation import Evaluation

# Mistakes that the words of a confusion matrix name.
_NAMED = 5


@dataclass(frozen=True)
class Drawing:
    """A figure as a page shows it.

    Attributes:
        title: What it is of, in one line.
        image: PNG in base64; empty where there is none.
        words: What it shows, or why there is none.
    """

    title: str
    image: str
    words: str


def curves(contracts: Sequence[Checked]) -> Iterator[Drawing]:
    """Accuracy over the budgets, wherever several are known of one attack on one subject."""
    groups: dict[Any, dict[float, Checked]] = {}
    for checked in contracts:
        budgets = groups.setdefault(_attack_of(checked), {})
        budgets.setdefault(checked.evaluation.eps, checked)
    for group in groups.values():
        if len(group) > 1:
            yield _curve([group[eps].evaluation for eps in sorted(group)])


def _attack_of(checked: Checked) -> Any:
    """What all points of a curve share: the same attack, and samples answered alike without it."""
    evaluation = checked.evaluation
    clean = (
        (name, arm.clean_confusion, _wrong(arm)) for name, arm in sorted(evaluation.arms.items())
    )
    return (
        *(evaluation.label, evaluation.threat, str(evaluation.target), evaluation.disturbances),
        *(evaluation.seed, evaluation.queries and evaluation.queries.limit),
        *(tuple(checked.result["subject"].items()), *clean),
    )


def _wrong(arm: Arm) -> tuple[bool, ...]:
    return tuple(letter == WRONG for letter in arm.outcomes)


def _curve(evaluations: list[Evaluation]) -> Drawing:
    first = evaluations[0]
    aim = "" if first.target is None else f", target {first.target}"
    title = f"{first.label}, {first.threat}{aim}"
    try:
        image = _png(partial(accuracy_curves, evaluations))
    except ContractError as error:
        return Drawing(title, "", f"There is no curve of {title}: {error}")
    return Drawing(title, image, f"accuracy under attack; {'; '.join(_points(evaluations))}")


def _points(evaluations: list[Evaluation]) -> Iterator[str]:
    for evaluation in evaluations:
        known = (f"{name} {_span(arm)}" for name, arm in evaluation.arms.items())
        yield f"eps {evaluation.eps:.4g}: {', '.join(known)}"


def _span(arm: Arm) -> str:
    low, high = arm.accuracy_interval
    return f"{float(low):.3f}" if low == high else f"{float(low):.3f} to {float(high):.3f}"


def confusion(evaluation: Evaluation) -> Drawing:
    """The pipeline's confusion matrix under attack."""
    title = "confusion matrix under attack"
    arm = evaluation.pipeline
    if not arm.complete:
        why = (
            f"There is no {title}: the run stopped early, with {arm.pending} of {arm.samples} "
            "samples not attacked: --aerobust-full gives the whole matrix."
        )
        return Drawing(title, "", why)
    if not arm.confusion:
        return Drawing(title, "", f"There is no {title}: the result holds none.")
    image = _png(partial(confusion_matrix, evaluation))
    return Drawing(title, image, "; ".join(_mistakes(evaluation)))


def _mistakes(evaluation: Evaluation) -> Iterator[str]:
    names, arm = evaluation.classes, evaluation.pipeline
    yield f"rows actual, columns answered; {arm.survivors} of {arm.samples} right"
    wrong = [cell for cell in arm.confusion if cell[0] != cell[1]]
    for actual, answered, count in sorted(wrong, key=lambda cell: -cell[2])[:_NAMED]:
        told = (names[label] if label < len(names) else str(label) for label in (actual, answered))
        yield f"{' taken for '.join(told)} {count} times"


def _png(draw: Callable[[], Figure]) -> str:
    """In base64."""
    with warnings.catch_warnings():
        # Names of classes in letters that no font here has are no reason to lose a page.
        warnings.simplefilter("ignore")
        return base64.b64encode(to_png(draw())).decode("ascii")
