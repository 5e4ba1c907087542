"""What watches a search, and lets a sample retire in the step that beats it."""

from collections.abc import Callable

import torch
from torch import Tensor

from pytest_aerobust.evidence.tallies import (
    GradientTally,
)
from pytest_aerobust.measurement.arm import RunningArm


class Retirement:
    """Watches one search on one arm's side: a sample retires in the step that beats it.

    Args:
        arm: Judges every iterate; None where the search is not judged step by step.
        rows: The samples searched, by their place among all.
        to_the_end: Which of them go on to the last step all the same, as a mask.
        tallies: Count the gradients at the start.
        inputs: Where examples are kept: starts as the originals of `rows`.
        certain: Whether enough is known, so that the whole search may end.

    Attributes:
        ended: Whether it ended so, in its middle.
        beaten: Which of `rows` were beaten, and by which of `examples`.
    """

    def __init__(
        self,
        arm: RunningArm | None,
        rows: Tensor,
        to_the_end: Tensor,
        tallies: list[GradientTally],
        inputs: Tensor,
        certain: Callable[[], bool],
    ) -> None:
        self._certain, self.ended = certain, False
        self.rows = rows
        self._arm, self._to_the_end, self._tallies = arm, to_the_end, tallies
        self.beaten = torch.zeros_like(to_the_end)
        self.examples = inputs.clone()

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        if self._arm is None:
            return torch.zeros_like(rows, dtype=torch.bool)
        places = self.rows[rows]
        wanted = self._arm.outcomes.open(places).nonzero().flatten()
        said = None if logits is None else logits[wanted]
        accepted = wanted[self._arm.judge(places[wanted], iterates[wanted], said)]
        self.ended = len(accepted) > 0 and self._certain()
        if self.ended:
            return torch.ones_like(rows, dtype=torch.bool)
        self.beaten[rows[accepted]] = True
        self.examples[rows[accepted]] = iterates[accepted]
        return ~self._arm.outcomes.open(places) & ~self._to_the_end[rows]

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        for tally in self._tallies:
            tally.add(gradients)

    def saw_answers(self, rows: Tensor) -> None:
        if self._arm is not None:
            self._arm.answered(self.rows[rows])
