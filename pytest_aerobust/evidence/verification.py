"""The independent judge: what counts as an adversarial example, whoever claims it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.catalogue import ORDERS, Norm
from pytest_aerobust.subjects.box import Box


@dataclass(frozen=True)
class Ball:
    """Where an attacker may move an input.

    Attributes:
        norm: Norm of the distance.
        eps: Radius, in the units of the data.
        bounds: Where each feature of an input may be, and which may change.
    """

    norm: Norm
    eps: float
    bounds: Box

    def holds(self, originals: Tensor, candidates: Tensor) -> Tensor:
        """Which candidates ``(n, ...)`` are finite, inside the bounds and inside the ball.

        A feature that may not change has to be exactly as it was.
        """
        low, high = self.bounds.around(originals)
        possible = candidates.isfinite() & (candidates >= low) & (candidates <= high)
        return possible.flatten(1).all(dim=1) & self._near(originals, candidates)

    def _near(self, originals: Tensor, candidates: Tensor) -> Tensor:
        """Which are within eps, but for the rounding that a genuine example may show.

        A millionth of eps, and four units in the last place of the largest bound in float32,
        for each coordinate: a stricter test rejects genuine examples of small budgets.
        """
        difference = (candidates.double() - originals.double()).flatten(1)
        slack = (self.eps * 1e-6 + 4 * _spacing(self.bounds)).to(difference.device)
        slack = slack.broadcast_to(originals.shape[1:]).flatten()
        if self.norm == "linf":
            return (difference.abs() <= self.eps + slack).all(dim=1)
        order = ORDERS[self.norm]
        allowed = 0.0 if self.norm == "l0" else torch.linalg.vector_norm(slack, ord=order).item()
        near: Tensor = torch.linalg.vector_norm(difference, ord=order, dim=1) <= self.eps + allowed
        return near

    def distances(self, originals: Tensor, candidates: Tensor) -> Tensor:
        """How far each candidate ``(n, ...)`` lies from its original, in float64 ``(n,)``."""
        difference = candidates.flatten(1).double() - originals.flatten(1).double()
        distances: Tensor = torch.linalg.vector_norm(difference, ord=ORDERS[self.norm], dim=1)
        return distances


def _spacing(bounds: Box) -> Tensor:
    """One unit in the last place of each feature's largest bound in float32."""
    largest = torch.maximum(bounds.low.abs(), bounds.high.abs()).cpu().float().numpy()
    return torch.from_numpy(np.asarray(np.spacing(largest), np.float64))


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Which samples are classified correctly; a tie of logits counts as correct."""
    return logits.gather(1, labels[:, None]).squeeze(1) >= logits.amax(dim=1)


def at_target(logits: Tensor, targets: Tensor) -> Tensor:
    """Which samples are classified as their targets ``(n,)``, ties excluded.

    A target below 0 is none.
    """
    wanted = targets.clamp_min(0)[:, None]
    others = logits.scatter(1, wanted, -torch.inf)
    return (targets >= 0) & (logits.gather(1, wanted).squeeze(1) > others.amax(dim=1))


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
        targets: The class that the attacker wants of each ``(n,)``, below 0 for one that is not
            attacked; or None.
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
