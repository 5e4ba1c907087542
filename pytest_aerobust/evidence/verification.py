"""The independent judge: what counts as an adversarial example, whoever claims it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.arguments import Bounds
from pytest_aerobust.catalogue import Norm


@dataclass(frozen=True)
class Ball:
    """Where an attacker may move an input.

    Attributes:
        norm: Norm of the distance.
        eps: Radius, in the units of the data.
        bounds: Smallest and largest value of an input.
    """

    norm: Norm
    eps: float
    bounds: Bounds

    def tolerance(self, size: int) -> float:
        """Rounding that a genuine example may show, for inputs of `size` numbers.

        A millionth of eps, and four units in the last place of the largest bound in float32,
        for each coordinate: a stricter test rejects genuine examples of small budgets.
        """
        largest = max(abs(bound) for bound in self.bounds)
        single = self.eps * 1e-6 + 4 * float(np.spacing(np.float32(largest)))
        return single * {"linf": 1.0, "l2": sqrt(size), "l1": float(size), "l0": 0.0}[self.norm]

    def holds(self, originals: Tensor, candidates: Tensor) -> Tensor:
        """Which candidates ``(n, ...)`` are finite, inside the bounds and inside the ball."""
        low, high = self.bounds
        flat = candidates.flatten(1)
        possible = (flat.isfinite() & (flat >= low) & (flat <= high)).all(dim=1)
        slack = self.tolerance(flat.shape[1])
        return possible & (self.distances(originals, candidates) <= self.eps + slack)

    def distances(self, originals: Tensor, candidates: Tensor) -> Tensor:
        """How far each candidate ``(n, ...)`` lies from its original, in float64 ``(n,)``."""
        order = {"linf": torch.inf, "l2": 2, "l1": 1, "l0": 0}[self.norm]
        difference = candidates.flatten(1).double() - originals.flatten(1).double()
        distances: Tensor = torch.linalg.vector_norm(difference, ord=order, dim=1)
        return distances


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Which samples are classified correctly; a tie of logits counts as correct."""
    return logits.gather(1, labels[:, None]).squeeze(1) >= logits.amax(dim=1)


def at_target(logits: Tensor, targets: Tensor) -> Tensor:
    """Which samples are classified as their targets ``(n,)``, ties excluded."""
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return logits.gather(1, targets[:, None]).squeeze(1) > others.amax(dim=1)


@dataclass(frozen=True)
class Found:
    """What verification says of candidates, masks ``(n,)``.

    Attributes:
        adversarial: Genuine adversarial examples.
        at_target: Those of them that are classified as their target.
        answers: The class that each of them is given; meaningless for other candidates.
    """

    adversarial: Tensor
    at_target: Tensor
    answers: Tensor


def verify(
    ask: Callable[[Tensor], Tensor],
    originals: Tensor,
    candidates: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    ball: Ball,
) -> Found:
    """Judge candidates ``(n, ...)`` by a forward pass of their own, without gradients.

    Args:
        ask: The judged side, from inputs to logits.
        originals: What the candidates were made from.
        candidates: In the full precision in which they would be sent.
        labels: True classes ``(n,)``.
        targets: The class that the attacker wants of each ``(n,)``, or None.
        ball: Where the attacker may move.
    """
    adversarial = ball.holds(originals, candidates)
    hits, answers = torch.zeros_like(adversarial), labels.clone()
    rows = adversarial.nonzero().flatten()
    if len(rows):
        with torch.no_grad():
            logits = ask(candidates[rows])
        adversarial[rows] = ~correct(logits, labels[rows])
        answers[rows] = logits.argmax(dim=1)
        if targets is not None:
            hits[rows] = at_target(logits, targets[rows])
    return Found(adversarial, hits & adversarial, answers)
