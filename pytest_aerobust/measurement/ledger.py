"""What is known of each sample across budgets, so that nothing is searched for twice.

Balls nest: an example inside a smaller ball is inside every larger one, and who withstood the
whole search in a larger ball counts as having withstood it in every smaller one. So one arm's
accuracy never rises with the budget.
"""

import torch
from torch import Tensor

from pytest_aerobust.results.arm import (
    AT_TARGET,
    BEATEN,
    HUNTED,
    NEAR_TARGET,
    PENDING,
    SURVIVED,
    UNDECIDED,
)


class Ledger:
    """One arm's knowledge, a row for each sample.

    Args:
        samples: How many samples there are.
        targeted: Whether an example that is not at its target leaves something to search for.

    Attributes:
        beaten_from: Smallest budget whose ball holds a verified example, float64 ``(N,)``;
            infinite where none is known.
        won_from: The same for an example at its target, where the attacker has one.
        near_from: Smallest budget whose ball holds a candidate of which a tie or rounding decides
            whether it is an example, likewise.
        near_target_from: The same of whether an example is at its target.
        searched_to: Largest budget of which the whole search did not win; below 0 where none
            has ended.
        stood_to: Largest budget of which the whole search found nothing at all, likewise. Who
            was beaten short of the attacker's target has withstood nothing.
        answers: What the example nearest to its original is taken for, int64 ``(N,)``; below 0
            where there is none.
    """

    def __init__(self, samples: int, targeted: bool) -> None:
        self._targeted = targeted
        self.beaten_from = torch.full((samples,), torch.inf, dtype=torch.float64)
        self.won_from = self.beaten_from.clone()
        self.near_from, self.near_target_from = self.won_from.clone(), self.won_from.clone()
        self.searched_to = torch.full((samples,), -1.0, dtype=torch.float64)
        self.stood_to = self.searched_to.clone()
        self.answers = torch.full((samples,), -1)
        self._faced: dict[float, Tensor] = {}

    def saw_examples(
        self, rows: Tensor, distances: Tensor, answers: Tensor, at_target: Tensor
    ) -> None:
        """Enter verified examples.

        Args:
            rows: Their samples ``(n,)``.
            distances: Budget whose ball holds each of them ``(n,)``.
            answers: What each is taken for ``(n,)``.
            at_target: Which of them are at their target ``(n,)``.
        """
        nearer = distances < self.beaten_from[rows]
        self.answers[rows[nearer]] = answers[nearer]
        self.beaten_from[rows[nearer]] = distances[nearer]
        wins = at_target if self._targeted else torch.ones_like(at_target)
        self.won_from[rows[wins]] = torch.minimum(self.won_from[rows[wins]], distances[wins])

    def saw_undecided(self, rows: Tensor, distances: Tensor, at_target: bool = False) -> None:
        """Enter candidates that a tie or rounding decides.

        Args:
            rows: Their samples ``(n,)``.
            distances: Budget whose ball holds each of them ``(n,)``.
            at_target: Whether they are examples, and it is their class that is open.
        """
        near = self.near_target_from if at_target else self.near_from
        near[rows] = torch.minimum(near[rows], distances)

    @property
    def nearest(self) -> list[float]:
        """The smallest budget known to beat each sample; infinite where none is."""
        found: list[float] = self.beaten_from.tolist()
        return found

    def saw_search(self, rows: Tensor, eps: float) -> None:
        """A search in the ball of a budget was over for `rows`, whatever it found."""
        self.faced(eps)[rows] = True

    def faced(self, eps: float) -> Tensor:
        """Who has faced a search at this very budget, a mask ``(N,)``."""
        return self._faced.setdefault(eps, torch.zeros(len(self.answers), dtype=torch.bool))

    def saw_end(self, rows: Tensor, eps: float) -> None:
        """The whole search for `rows` in the ball of a budget is over, and has not won."""
        self.searched_to[rows] = self.searched_to[rows].clamp_min(eps)
        stood = rows[self.beaten_from[rows] > eps]
        self.stood_to[stood] = self.stood_to[stood].clamp_min(eps)

    def saw_minimum(self, rows: Tensor) -> None:
        """No search that looks for the nearest example finds one of `rows` in a smaller ball.

        Of whom it has not won this says nothing: what it looks for may lie in a larger one.
        """
        rows = rows[self.won_from[rows] < torch.inf]
        zero = torch.zeros(1, dtype=torch.float64)
        below = torch.nextafter(self.won_from[rows], zero)
        self.searched_to[rows] = self.searched_to[rows].maximum(below)
        nearest = torch.nextafter(self.beaten_from[rows], zero)
        self.stood_to[rows] = self.stood_to[rows].maximum(nearest)

    def outcomes(self, eps: float) -> Tensor:
        """The letter of :class:`Arm` for each sample that is attacked at a budget ``(N,)``."""
        over, beaten = self.searched_to >= eps, self.beaten_from <= eps
        letters = torch.full_like(self.answers, ord(PENDING))
        stood = self.stood_to >= eps
        letters[stood] = ord(SURVIVED)
        letters[stood & (self.near_from <= eps)] = ord(UNDECIDED)
        letters[beaten] = ord(HUNTED)
        letters[beaten & over] = ord(BEATEN)
        letters[beaten & over & (self.near_target_from <= eps)] = ord(NEAR_TARGET)
        letters[self.won_from <= eps] = ord(AT_TARGET if self._targeted else BEATEN)
        return letters
