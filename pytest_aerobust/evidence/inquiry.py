"""What a check is given: one arm, how it was attacked, and how many samples it may look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.attacks.search import Problem, Search
from pytest_aerobust.contract.attack import AttackChoice
from pytest_aerobust.contract.catalogue import Threat
from pytest_aerobust.counterexamples.verification import Ball, Verification
from pytest_aerobust.results.evaluation import Weight
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.pipeline import Classifier

# The share of an attack's own cost that all checks together may add.
_ALLOWANCE = 0.2
# A check speaks of at least so many samples, where there are as many.
_LEAST_SAMPLES = 10


class Finding(NamedTuple):
    """What a check says: its weight, and the words with the numbers."""

    weight: Weight
    text: str


class KnownOutcomes(Protocol):
    """What became of the samples of an arm, in places among those measured.

    Attributes:
        closed: Whose attack is over in this run, a mask ``(N,)``.
    """

    closed: Tensor

    @property
    def survivors(self) -> Tensor:
        """Whom the whole attack has not beaten so far, a mask ``(N,)``."""

    def attacked(self) -> Tensor:
        """The samples whose attack is over, ``(n,)``."""

    def close(self, rows: Tensor) -> None:
        """The attack on `rows` is over."""


class AttackedArm(Protocol):
    """What a check asks of an arm whose attack is over.

    Attributes:
        name: ``unfiltered`` or ``filtered``.
        side: What the arm judges.
        clean: The samples as they came.
        ball: Where the attacker may move an input.
    """

    name: str
    side: Classifier
    clean: Samples
    ball: Ball

    @property
    def outcomes(self) -> KnownOutcomes:
        """What became of its samples."""

    def problem(self, side: Classifier, rows: Tensor, seed: int) -> Problem:
        """Attack `side` from this arm's inputs."""

    def found(self, rows: Tensor, candidates: Tensor) -> Verification:
        """What verification says of candidates for `rows`, without counting them."""

    def judge(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Count the candidates for `rows` that verification accepts, as a mask."""


@dataclass(frozen=True)
class Inquiry:
    """One arm whose survivors are questioned.

    Attributes:
        arm: Its attack is over.
        followed: Whose gradients the attacker followed; none, where he needs none.
        bare: The model without the filter, where examples may come from it; else None.
        choice: The contract's attack.
        search: The same, ready to run.
        threat: What the attacker knows.
        seed: Seed of everything random.
        survivors: Whom the attack itself left standing, a mask over all samples.
    """

    arm: AttackedArm
    followed: Sequence[Classifier]
    bare: Classifier | None
    choice: AttackChoice
    search: Search
    threat: Threat
    seed: int
    survivors: Tensor

    @property
    def attack(self) -> str:
        return self.choice.spec.name

    @property
    def searched(self) -> int:
        """How many of the survivors were attacked in this run, and not at another budget."""
        return int((self.survivors & self.arm.outcomes.closed).sum())

    @property
    def blind(self) -> Finding | None:
        """Why gradients of the judged side say nothing here; None where the attack follows them."""
        if not self.followed:
            return Finding("skipped", f"{self.attack} follows no gradients")
        if self.threat == "gray-box":
            reason = "under gray-box examples are crafted on another model than they are judged on"
            return Finding("skipped", reason)
        return None

    def drawn(self, cost: int, share: float) -> Tensor:
        """Some of the samples whose attack is over, as many as a share of the allowance pays for.

        Args:
            cost: Forward passes for each of them.
            share: Of what all checks may spend.
        """
        # Whoever fell early has cost little.
        spent = self.searched * (self.search.passes or cost)
        paid = int(_ALLOWANCE * share * spent / cost)
        return self.some(self.arm.outcomes.attacked(), max(_LEAST_SAMPLES, paid))

    def some(self, rows: Tensor, count: int) -> Tensor:
        """A draw of `count` of the rows, the same in every run."""
        order = np.random.default_rng(self.seed).permutation(len(rows))
        return rows[torch.from_numpy(np.sort(order[:count])).to(rows.device)]

    def problem(self, side: Classifier, rows: Tensor) -> Problem:
        return self.arm.problem(side, rows, self.seed)
