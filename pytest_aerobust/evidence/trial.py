"""Watchers of searches that are no part of the contract: nobody's outcome changes."""

from collections.abc import Callable

import torch
from torch import Tensor

from pytest_aerobust.counterexamples.verification import correct


class Trial:
    """Whom a search beats retires, and is remembered here alone.

    Args:
        labels: ``(n,)``.
        judged: Which candidates, for places among the samples, are adversarial examples.

    Attributes:
        beaten: Mask ``(n,)``.
    """

    def __init__(self, labels: Tensor, judged: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._labels, self._judged = labels, judged
        self.beaten = torch.zeros_like(labels, dtype=torch.bool)

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        wanted = ~self.beaten[rows]
        if logits is not None:
            wanted &= ~correct(logits, self._labels[rows])
        if wanted.any():
            claims = rows[wanted]
            self.beaten[claims[self._judged(claims, iterates[wanted])]] = True
        return self.beaten[rows]

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        """The contract's own search is weighed by its gradients, not its rivals."""

    def saw_answers(self, rows: Tensor) -> None:
        """What a check asks is no part of the contract's budget of queries."""


class ToTheEnd:
    """Lets nobody retire: an example that has only just crossed a border hardly transfers."""

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        return torch.zeros_like(rows, dtype=torch.bool)

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        """They are those of the bare arm's own search."""

    def saw_answers(self, rows: Tensor) -> None:
        """As for a trial."""
