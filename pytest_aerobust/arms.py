"""One side of the comparison while it runs: who is right, who is open, who is beaten."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.evidence.sanity import (
    CandidateTally,
    GradientTally,
    check_classes,
    clean_evidence,
)
from pytest_aerobust.evidence.verification import Ball, correct, verify
from pytest_aerobust.results import (
    AT_TARGET,
    BEATEN,
    EXEMPT,
    PENDING,
    SURVIVED,
    WRONG,
    Arm,
    Evidence,
)
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.pipeline import Classifier

# Samples of the clean pass, which keeps nothing for a backward pass.
_CLEAN_CHUNK = 256


class OnExamples(Protocol):
    """Is shown every verified example."""

    def __call__(self, arm: str, samples: np.ndarray, examples: Tensor) -> None:
        """See examples ``(n, ...)`` of samples, by their numbers in the data."""


class RunningArm:
    """An arm's outcomes, from the clean pass to the last claim.

    A sample is open while it is pending, or, where the attacker has a target, beaten but not
    yet seen as the target.

    Args:
        name: ``unfiltered`` or ``filtered``.
        side: What the arm judges.
        samples: Inputs and labels.
        ball: Where the attacker may move an input.
        target: The class that the attacker wants, or None.
        on_examples: Is shown every verified example.
    """

    def __init__(
        self,
        name: str,
        side: Classifier,
        samples: Samples,
        ball: Ball,
        target: int | None,
        on_examples: OnExamples,
    ) -> None:
        self.name = name
        self.side = side
        self.tally = GradientTally()
        self._candidates = CandidateTally()
        self._samples, self._ball, self._target = samples, ball, target
        self._on_examples = on_examples
        self._lowest, self._highest = np.inf, -np.inf
        logits = self._clean_logits()
        check_classes(logits, samples, target, side.name)
        self._right = correct(logits, samples.labels)
        self._outcomes = torch.where(self._right, ord(PENDING), ord(WRONG))
        if target is not None:
            self._outcomes[self._right & (samples.labels == target)] = ord(EXEMPT)

    def open(self, rows: Tensor) -> Tensor:
        """Which of `rows` the attacker still wants, as a mask."""
        outcomes = self._outcomes[rows]
        if self._target is None:
            return outcomes == ord(PENDING)
        return (outcomes == ord(PENDING)) | (outcomes == ord(BEATEN))

    def judge(self, rows: Tensor, candidates: Tensor, logits: Tensor | None = None) -> Tensor:
        """Count the candidates for `rows` that verification accepts, as a mask.

        Args:
            rows: Samples, each open.
            candidates: One for each row.
            logits: What the side said to them in another batch: only those it errs on are
                worth a forward pass of their own. None verifies all.
        """
        accepted = torch.zeros_like(rows, dtype=torch.bool)
        claims = torch.ones_like(accepted)
        if logits is not None:
            claims = ~correct(logits, self._samples.labels[rows])
        if claims.any():
            accepted[claims] = self._verified(rows[claims], candidates[claims])
        return accepted

    def _verified(self, rows: Tensor, candidates: Tensor) -> Tensor:
        self._candidates.add(candidates)
        originals, labels = self._samples.inputs[rows], self._samples.labels[rows]
        found = verify(self.side, originals, candidates, labels, self._target, self._ball)
        if found.adversarial.any():
            beaten = rows[found.adversarial]
            self._outcomes[beaten] = ord(BEATEN)
            self._outcomes[rows[found.at_target]] = ord(AT_TARGET)
            numbers = self._samples.ids[beaten.cpu()].numpy()
            self._on_examples(self.name, numbers, candidates[found.adversarial])
        return found.adversarial

    def close(self, rows: Tensor) -> None:
        """The attack on `rows` is over: who is pending has survived it."""
        pending = self._outcomes[rows] == ord(PENDING)
        self._outcomes[rows[pending]] = ord(SURVIVED)

    def outcome(self) -> Arm:
        """What is known of every sample now."""
        return Arm(self._outcomes.to("cpu", torch.uint8).numpy().tobytes().decode("ascii"))

    def evidence(self, attack: str) -> list[Evidence]:
        """What speaks against a pass of this arm."""
        return [
            *clean_evidence(self._right, self._samples.labels, self.name),
            *self.tally.evidence(attack, self.name),
            *self._candidates.evidence(attack, self.name),
        ]

    def filter_notes(self) -> tuple[str, ...]:
        """A warning where the filter's clean outputs leave the bounds."""
        low, high = self._ball.bounds
        slack = 1e-6 * (high - low)
        if low - slack <= self._lowest and self._highest <= high + slack:
            return ()
        return (
            f"the filter's outputs span [{self._lowest:g}, {self._highest:g}], outside the bounds "
            f"({low:g}, {high:g}): the model sees another scale than eps is stated in",
        )

    def _clean_logits(self) -> Tensor:
        answers = []
        with torch.no_grad():
            for inputs in torch.split(self._samples.inputs, _CLEAN_CHUNK):
                seen, logits = self.side.clean(inputs)
                self._lowest = min(self._lowest, seen.min().item())
                self._highest = max(self._highest, seen.max().item())
                answers.append(logits)
        return torch.cat(answers)


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
        wanted = self._arm.open(places).nonzero().flatten()
        said = None if logits is None else logits[wanted]
        accepted = wanted[self._arm.judge(places[wanted], iterates[wanted], said)]
        self.ended = len(accepted) > 0 and self._certain()
        if self.ended:
            return torch.ones_like(rows, dtype=torch.bool)
        self.beaten[rows[accepted]] = True
        self.examples[rows[accepted]] = iterates[accepted]
        return ~self._arm.open(places) & ~self._to_the_end[rows]

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        for tally in self._tallies:
            tally.add(gradients)
