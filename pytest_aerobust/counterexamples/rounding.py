"""Whether an answer is the model's own, or one that a tie or rounding decides.

Another processor, another number of threads or another batch moves logits by their rounding. So
a close answer is asked for again, alone and a hair's breadth aside, and stands only where its
lead exceeds whatever that changes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.attacks.losses import best_other, picked
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.scale import deciding_sizes

Ask = Callable[[Tensor], Tensor]

# A lead above this share of the logits' size is no rounding of float32: answers that differ by
# as much are other answers (see the check `batch independence`).
_CLOSE = 1e-4
# Units in the last place of the larger logit that a lead must exceed, whatever was seen.
_UNITS = 4
# Times the change that was seen: three answers need not show the largest that there is.
_SEEN = 2
# Inputs that are asked about together.
_TOGETHER = 128
# Clean inputs whose mixtures show whether answers go in steps.
_FEW, _MOST = 8, 0.5


@dataclass(frozen=True)
class Contest:
    """A class in question against the best other one.

    Attributes:
        own: The logit of the one, ``(n,)``.
        other: Of the other.
    """

    own: Tensor
    other: Tensor

    @classmethod
    def of(cls, logits: Tensor, classes: Tensor) -> "Contest":
        """Of `classes` ``(n,)`` in logits ``(n, K)``."""
        return cls(picked(logits, classes), best_other(logits, classes))

    @property
    def lost_by(self) -> Tensor:
        """By how much the other leads, below 0 where the one does."""
        return self.other - self.own


@dataclass(frozen=True)
class Rounding:
    """How rounding shows in a model's answers.

    Attributes:
        size: How large the logits are between which it decides: the median over clean samples of
            the larger one of the best two. Near a border all may be next to 0, while the rounding
            is that of the numbers which cancelled out. What a class that nobody takes is masked
            with (-1e9, say) blurs no other.
        stepped: Whether answers go in steps, as behind a quantised layer or a sign. There a hair's
            breadth changes nothing, or more than any rounding.
    """

    size: float = 0.0
    stepped: bool = False

    @classmethod
    def of(
        cls,
        side: Classifier,
        inputs: Tensor,
        logits: Tensor,
        aside: Callable[[Tensor, Tensor], Tensor],
    ) -> "Rounding":
        """What clean answers show of it.

        Args:
            side: Who is asked. Where it averages draws, another place in a batch gets other ones,
                which no steps are told from.
            inputs: ``(N, ...)``, which nobody attacked.
            logits: What was said to them, ``(N, K)``.
            aside: From originals and candidates to candidates moved by less than anybody could
                tell.
        """
        return cls(
            deciding_sizes(logits).median().item(),
            stepped=side.draws == 1 and _unmoved(side.judged, inputs[:_FEW], aside) > _MOST,
        )

    def least_lead(self, contest: Contest) -> Tensor:
        """What a lead of either must exceed to be no rounding, ``(n,)``."""
        return _UNITS * torch.finfo(contest.own.dtype).eps * self.around(contest)

    def around(self, contest: Contest) -> Tensor:
        """How large the logits are, ``(n,)``."""
        sizes = torch.maximum(contest.own.abs(), contest.other.abs())
        return sizes.double().clamp_min(self.size)


UNKNOWN = Rounding()


def _unmoved(ask: Ask, inputs: Tensor, aside: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The share of inputs whose answer a hair's breadth leaves the same to the last bit.

    They are mixed, since clean ones lie on a grid, such as that of 8 bits, on which a quantising
    filter has its borders.
    """
    shares = np.random.default_rng(0).dirichlet(np.ones(len(inputs)), len(inputs))
    mixed = torch.tensordot(torch.from_numpy(shares).to(inputs), inputs, dims=1)
    with torch.no_grad():
        # In one batch, in whose company the same input gets the same answer to the last bit.
        still, moved = ask(torch.cat([mixed, aside(mixed, mixed)])).chunk(2)
    return (still == moved).all(dim=1).double().mean().item()


def _answers(logits: Tensor) -> Tensor:
    return logits.argmax(dim=1)


@dataclass(frozen=True)
class Standing:
    """What may be said of a claim about each answer, masks ``(n,)``.

    Attributes:
        holds: It holds on every machine: by more than rounding, or in a tie.
        open: Nothing may be claimed: a tie would refute it, or rounding decides.
        tied: The classes in question have the same logit to the last bit, however they are asked
            for. Such logits are saturated, clamped or rounded; `argmax` takes the first class.
    """

    holds: Tensor
    open: Tensor
    tied: Tensor


class CloseAnswers:
    """What a model says to some inputs; where that is close, also aside and alone.

    Where answers go in steps, those far from a border are asked for aside, too.

    Args:
        ask: From inputs to logits.
        inputs: ``(n, ...)``.
        logits: What it said to them in company ``(n, K)``.
        aside: Some of the inputs, by their rows, moved by less than anybody could tell.
        rounding: How it shows in clean answers.
    """

    def __init__(
        self,
        ask: Ask,
        inputs: Tensor,
        logits: Tensor,
        aside: Callable[[Tensor], Tensor],
        rounding: Rounding,
    ) -> None:
        self._ask, self._inputs, self._aside = ask, inputs, aside
        self._logits, self._rounding = logits, rounding

    def miss(self, labels: Tensor) -> Standing:
        """Whether they are other classes than `labels` ``(n,)``."""
        return self._standing(
            labels,
            lambda contest: contest.lost_by,
            lambda logits, labels: _answers(logits) != labels,
        )

    def hit(self, targets: Tensor) -> Standing:
        """Whether they are the classes `targets` ``(n,)``."""
        return self._standing(
            targets,
            lambda contest: -contest.lost_by,
            lambda logits, labels: _answers(logits) == labels,
        )

    def _standing(
        self,
        classes: Tensor,
        lead: Callable[[Contest], Tensor],
        decided: Callable[[Tensor, Tensor], Tensor],
    ) -> Standing:
        """A claim by its lead, below 0 where it fails, and by what `argmax` makes of it."""
        holds = decided(self._logits, classes)
        found = Standing(holds, torch.zeros_like(holds), torch.zeros_like(holds))
        contest = Contest.of(self._logits, classes)
        close = contest.lost_by.abs() <= _CLOSE * self._rounding.around(contest)
        rows = (close | self._rounding.stepped).nonzero().flatten()
        if len(rows):

            def said(logits: Tensor) -> Tensor:
                return lead(Contest.of(logits, classes[rows]))

            least = self._rounding.least_lead(contest)[rows]
            answers = self._again(rows, close[rows], said, least)
            leads = torch.stack([said(each) for each in answers]).double()
            votes = torch.stack([decided(each, classes[rows]) for each in answers])
            least = torch.maximum(least, _SEEN * (leads - leads[0]).abs().amax(dim=0))
            tied = (leads == 0).all(dim=0)
            found.tied[rows] = tied
            found.holds[rows] = votes.all(dim=0) & (tied | (leads[0] > least))
            found.open[rows] = ~found.holds[rows] & (votes.any(dim=0) | (leads[0] >= -least))
        return found

    def _again(
        self, rows: Tensor, close: Tensor, lead: Callable[[Tensor], Tensor], least: Tensor
    ) -> tuple[Tensor, ...]:
        """What is said to some inputs in company, aside, and to the close ones of them alone.

        Those that company and aside leave open already are not asked one by one, nor is what ties
        in both, which is saturated.
        """
        with torch.no_grad():
            company = self._logits[rows]
            aside = torch.cat(
                [self._ask(self._aside(part)) for part in torch.split(rows, _TOGETHER)]
            )
            first, second = lead(company).double(), lead(aside).double()
            least = torch.maximum(least, _SEEN * (second - first).abs())
            alone = company.clone()
            for place in (close & (first.abs() > least)).nonzero().flatten():
                alone[place] = self._ask(self._inputs[rows[place]][None])[0]
        return company, aside, alone
