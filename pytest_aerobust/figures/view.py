"""One arm of an evaluation, before or after the attack, with the words that name it."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pytest_aerobust.errors import ContractError, UndecidedError, did_you_mean
from pytest_aerobust.results.arm import Arm, Confusion
from pytest_aerobust.results.evaluation import Evaluation

ArmName = Literal["filtered", "unfiltered"]


@dataclass(frozen=True)
class View:
    """What a figure shows of an evaluation.

    Attributes:
        evaluation: Where it comes from.
        name: The arm's name.
        attacked: Whether it is what the attack left, or what was there before.
        cells: The confusion matrix, never empty.
    """

    evaluation: Evaluation
    name: str
    attacked: bool
    cells: Confusion

    @property
    def arm(self) -> Arm:
        return self.evaluation.arms[self.name]

    @property
    def names(self) -> tuple[str, ...]:
        """Of every class from 0; its number where the evaluation has no name."""
        known = self.evaluation.classes
        count = 1 + max(max(actual, answered) for actual, answered, _ in self.cells)
        return (*known, *map(str, range(len(known), count)))

    @property
    def matrix(self) -> np.ndarray:
        """Counts ``(K, K)``, rows actual, columns answered."""
        counts = np.zeros((len(self.names), len(self.names)), dtype=int)
        for actual, answered, count in self.cells:
            counts[actual, answered] = count
        return counts

    @property
    def title(self) -> str:
        """What was measured, and the number that sums it up."""
        arm, words = self.arm, conditions(self.evaluation, self.name)
        clean = f"before any attack, {self.name}\nclean accuracy {arm.clean_accuracy:.3f}"
        result = f"{words}\nrobust accuracy {_span(arm)}" if self.attacked else clean
        return f"{result}, {arm.samples} samples"


def _span(arm: Arm) -> str:
    """The robust accuracy, or its bounds where samples are undecided."""
    low, high = (f"{float(end):.3f}" for end in arm.accuracy_interval)
    return low if low == high else f"{low} to {high}"


def conditions(evaluation: Evaluation, arm: str) -> str:
    """Disturbances, attack, norm, budget, target, threat and arm in one line."""
    return f"{evaluation.words()}, {arm}"


def view_of(evaluation: Evaluation, arm: ArmName | None, attacked: bool) -> View:
    """The view that a figure was asked for; None is the pipeline.

    Raises:
        ContractError: There is no such arm, or the evaluation has no confusion matrices.
        UndecidedError: The arm stopped early, so what the attack leaves is open.
    """
    name = arm or ("unfiltered" if evaluation.filtered is None else "filtered")
    known = get_args(ArmName)
    if name not in known:
        raise ContractError(f"there is no arm {name!r}: {did_you_mean(name, known)}")
    if name not in evaluation.arms:
        raise ContractError(
            "the evaluation has no arm 'filtered', because it had no filter: ask for 'unfiltered'"
        )
    shown = evaluation.arms[name]
    if attacked and not shown.complete:
        raise UndecidedError(
            f"the {name} arm stopped early, with {shown.pending} of {shown.samples} samples not "
            "attacked at all, so its confusion matrix is open: measure in full with robustness() "
            "in the test's body or --aerobust-full, or ask for attacked=False"
        )
    cells = shown.confusion if attacked else shown.clean_confusion
    if not cells:
        raise ContractError(
            f"the {name} arm carries no confusion matrix (a result of an older version?): "
            "measure again"
        )
    return View(evaluation, name, attacked, cells)
