"""The independent judge: what counts as an adversarial example, whoever claims it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.contract.catalogue import ORDERS, Norm
from pytest_aerobust.counterexamples.rounding import UNKNOWN, CloseAnswers, Rounding
from pytest_aerobust.subjects.box import Box

# Units in the last place of the largest bound that a coordinate may be off by.
_UNITS = 4


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
        slack = (self.eps * 1e-6 + _UNITS * _spacing(self.bounds)).to(difference.device)
        slack = slack.broadcast_to(originals.shape[1:]).flatten()
        if self.norm == "linf":
            return (difference.abs() <= self.eps + slack).all(dim=1)
        order = ORDERS[self.norm]
        allowed = 0.0 if self.norm == "l0" else torch.linalg.vector_norm(slack, ord=order).item()
        near: Tensor = torch.linalg.vector_norm(difference, ord=order, dim=1) <= self.eps + allowed
        return near

    def aside(self, originals: Tensor, candidates: Tensor) -> Tensor:
        """Candidates ``(n, ...)`` moved by less than anybody could tell, each in the same way.

        Every coordinate goes up or down by a few units in the last place of its largest bound,
        but not out of the bounds; one that may not change stays.
        """
        low, high = self.bounds.around(originals)
        largest = torch.maximum(self.bounds.low.abs(), self.bounds.high.abs()).to(candidates)
        draws = np.random.default_rng(0).integers(0, 2, tuple(candidates.shape[1:]))
        signs = torch.from_numpy(2.0 * draws - 1).to(candidates)
        step = _UNITS * torch.finfo(candidates.dtype).eps * largest
        return (candidates + signs * step).clamp(low, high)

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
    """Which samples are classified correctly, as deployment decides: of a tie the first class."""
    return logits.argmax(dim=1) == labels


@dataclass(frozen=True)
class Verification:
    """What verification says of candidates, masks ``(n,)``.

    Attributes:
        adversarial: Genuine adversarial examples.
        at_target: Those of them that are classified as their target.
        answers: The class that each of them is given; meaningless for other candidates.
        undecided: Genuine candidates of which a tie or rounding decides whether they are
            adversarial.
        near_target: Adversarial examples of which one of these decides whether they are at their
            target.
        tied: Adversarial examples that are so by a tie, which `argmax` decides.
    """

    adversarial: Tensor
    at_target: Tensor
    answers: Tensor
    undecided: Tensor
    near_target: Tensor
    tied: Tensor


def verify(
    ask: Callable[[Tensor], Tensor],
    originals: Tensor,
    candidates: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    ball: Ball,
    rounding: Rounding = UNKNOWN,
) -> Verification:
    """Judge candidates ``(n, ...)`` by forward passes of their own, without gradients.

    A close answer counts only where it stands alone and in company by more than rounding.

    Args:
        ask: The judged side, from inputs to logits.
        originals: What the candidates were made from.
        candidates: In the full precision in which they would be sent.
        labels: True classes ``(n,)``.
        targets: The class that the attacker wants of each ``(n,)``, below 0 for one that is not
            attacked; or None.
        ball: Where the attacker may move.
        rounding: How it shows in the side's clean answers; unknown, it is that of the logits at
            hand.
    """
    rows = ball.holds(originals, candidates).nonzero().flatten()
    nobody = torch.zeros_like(labels, dtype=torch.bool)
    found = Verification(nobody, nobody, labels, nobody, nobody, nobody)
    if not len(rows):
        return found
    with torch.no_grad():
        logits = ask(candidates[rows])

    def aside(members: Tensor) -> Tensor:
        return ball.aside(originals[rows[members]], candidates[rows[members]])

    answers = CloseAnswers(ask, candidates[rows], logits, aside, rounding)
    miss = answers.miss(labels[rows])
    found = replace(
        found,
        adversarial=nobody.index_put((rows,), miss.holds),
        answers=labels.index_put((rows,), logits.argmax(dim=1)),
        undecided=nobody.index_put((rows,), miss.open),
        tied=nobody.index_put((rows,), miss.holds & miss.tied),
    )
    return found if targets is None else _aimed(found, rows, answers, targets[rows])


def _aimed(
    found: Verification, rows: Tensor, answers: CloseAnswers, targets: Tensor
) -> Verification:
    """The same with what is known of the targets; one below 0 is none."""
    hit = answers.hit(targets.clamp_min(0))
    at_target, near = torch.zeros_like(found.adversarial), torch.zeros_like(found.adversarial)
    at_target[rows], near[rows] = hit.holds & (targets >= 0), hit.open & (targets >= 0)
    return replace(
        found,
        at_target=at_target & found.adversarial,
        near_target=near & found.adversarial,
    )
