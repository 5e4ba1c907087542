"""Whether an answer is the model's own, or one that a tie or rounding decides.

Another processor, another number of threads or another batch moves logits by their rounding. So
a close answer is asked for again, alone and a hair's breadth aside, and stands only where its
lead exceeds whatever that changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pytest_aerobust.attacks.losses import margin

# A lead above this share of the logits' size is no rounding of float32: answers that differ by
# as much are other answers (see the check `batch independence`).
_CLOSE = 1e-4
# Units in the last place of the largest logit that a lead must exceed, whatever was seen.
_UNITS = 4
# Times the change that was seen: three answers need not show the largest that there is.
_SEEN = 2
# Inputs that are asked about together.
_TOGETHER = 128


def usual_size(logits: Tensor) -> float:
    """How large a model's logits are: the mean of each sample's largest.

    Near a border those of a model with two classes may all be next to 0, while its rounding is
    that of the numbers which cancelled out.

    Args:
        logits: Of samples that nobody attacked, ``(N, K)``.
    """
    return logits.abs().amax(dim=1).double().mean().item()


def least_lead(logits: Tensor, usual: float) -> Tensor:
    """What a lead of logits ``(n, K)`` must exceed to be more than their rounding, ``(n,)``."""
    return _UNITS * torch.finfo(logits.dtype).eps * _size(logits, usual)


def _size(logits: Tensor, usual: float) -> Tensor:
    return logits.abs().amax(dim=1).double().clamp_min(usual)


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
    """What a model says to some inputs; where that is close, also alone and aside.

    Args:
        ask: From inputs to logits.
        inputs: ``(n, ...)``.
        logits: What it said to them in company ``(n, K)``.
        aside: Some of the inputs, by their rows, moved by less than anybody could tell.
        usual: Size of its logits, as :func:`usual_size` gives it; 0 takes those at hand.
    """

    def __init__(
        self,
        ask: Callable[[Tensor], Tensor],
        inputs: Tensor,
        logits: Tensor,
        aside: Callable[[Tensor], Tensor],
        usual: float = 0.0,
    ) -> None:
        self._ask, self._inputs, self._aside = ask, inputs, aside
        self._logits, self._usual = logits, usual

    def miss(self, labels: Tensor) -> Standing:
        """Whether they are other classes than `labels` ``(n,)``."""
        return self._standing(labels, margin, lambda logits, labels: _answers(logits) != labels)

    def hit(self, targets: Tensor) -> Standing:
        """Whether they are the classes `targets` ``(n,)``."""
        return self._standing(
            targets,
            lambda logits, labels: margin(logits, labels, targets=labels),
            lambda logits, labels: _answers(logits) == labels,
        )

    def _standing(
        self,
        classes: Tensor,
        lead: Callable[..., Tensor],
        decided: Callable[[Tensor, Tensor], Tensor],
    ) -> Standing:
        """A claim by its lead, below 0 where it fails, and by what `argmax` makes of it."""
        holds = decided(self._logits, classes)
        found = Standing(holds, torch.zeros_like(holds), torch.zeros_like(holds))
        distance = lead(self._logits, classes).abs().double()
        rows = (distance <= _CLOSE * _size(self._logits, self._usual)).nonzero().flatten()
        if len(rows):
            said = partial(lead, labels=classes[rows])
            answers = self._again(rows, said)
            leads = torch.stack([said(each) for each in answers]).double()
            votes = torch.stack([decided(each, classes[rows]) for each in answers])
            least = least_lead(self._logits[rows], self._usual)
            least = torch.maximum(least, _SEEN * (leads - leads[0]).abs().amax(dim=0))
            tied = (leads == 0).all(dim=0)
            found.tied[rows] = tied
            found.holds[rows] = votes.all(dim=0) & (tied | (leads[0] > least))
            found.open[rows] = ~found.holds[rows] & (votes.any(dim=0) | (leads[0] >= -least))
        return found

    def _again(self, rows: Tensor, lead: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        """What is said to some inputs in company, aside, and to each of them alone.

        What ties both in company and aside is saturated, and is not asked for one by one.
        """
        with torch.no_grad():
            company = self._logits[rows]
            aside = torch.cat(
                [self._ask(self._aside(part)) for part in torch.split(rows, _TOGETHER)]
            )
            alone = company.clone()
            for place in ((lead(company) != 0) | (lead(aside) != 0)).nonzero().flatten():
                alone[place] = self._ask(self._inputs[rows[place]][None])[0]
        return company, aside, alone
