"""Where an attack went: a few of its points, by which the attacked model is known again.

A model that differs only off the data answers the data as before, so it is asked where the attack
has been: at what it asked about on its way, and where it left whom it could not beat and whom it
beat. All of it is a by-product of the search: nothing is drawn from its random numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.subjects.sameness import same_logits

# Points of one arm: where the attack left whom it could not beat, and whom it beat, and what it
# asked about before. Most are of those who hold a floor up: whom nobody could beat, or, where it is
# the gain over the bare arm, whom that one lost.
_MOST = {"stood": 96, "fell": 8, "asked": 16}
_MOST_OF_BARE = {"stood": 8, "fell": 96, "asked": 16}
# Bytes of all points of one arm; of large inputs a few more, if there are to be any.
_BYTES, _MOST_BYTES, _FEW = 2**20, 6 * 2**20, 8
# Inputs that are asked about on the way of a search, at a time.
_ASKED = 4


class Role(NamedTuple):
    """Somebody who is asked at the points of an arm.

    Attributes:
        arm: Whose points.
        side: Who is asked, by its name among the sides of a subject.
        gradient: Whether the attack follows its gradients.
    """

    arm: str
    side: str
    gradient: bool


@dataclass(frozen=True)
class _Point:
    """One input of a search.

    Attributes:
        rank: Drawn by seed: where there are too many, the smallest stay.
        number: Its place in the order of the search.
        input: Itself.
        asked: Who was asked about it; None where nobody was.
        answer: What he said ``(K,)``.
    """

    rank: float
    number: int
    input: Tensor
    asked: Callable[[Tensor], Tensor] | None = None
    answer: Tensor | None = None


@dataclass
class Trail:
    """The points of all searches of one proof.

    Args:
        seed: Seed of the draw among them.

    Attributes:
        roles: Who is asked at the points of which arm.
        compared: Whether a floor rests on whom the attack beats on the bare arm.
        steady: Whether whoever was asked again during the run said the same.
    """

    seed: int
    roles: tuple[Role, ...] = ()
    compared: bool = False
    steady: bool = True
    _kept: dict[tuple[str, str], list[_Point]] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self._draw = np.random.default_rng(self.seed)

    def watched(self, arm: str, problem: Problem) -> Problem:
        """The same problem, whose questions are looked at: the first, the second, the fourth ..."""
        ask, count = problem.ask, 0

        def asked(inputs: Tensor) -> Tensor:
            nonlocal count
            logits = ask(inputs)
            count += 1
            if not count & (count - 1):
                self._take(arm, "asked", inputs, ask, logits)
            return logits

        return replace(problem, ask=asked)

    def ended(self, arm: str, ends: Sequence[Tensor], beaten: Tensor) -> None:
        """Look at where a search left its samples.

        Args:
            arm: Whose search it was.
            ends: One or more candidates for each sample, each ``(n, ...)``.
            beaten: Whom it beat, a mask ``(n,)``.
        """
        for end in ends:
            self._take(arm, "stood", end[~beaten])
            self._take(arm, "fell", end[beaten])

    def met(self, arm: str, inputs: Tensor) -> None:
        """Look at inputs that an arm was judged on without a search."""
        self._take(arm, "stood", inputs)

    def _take(
        self,
        arm: str,
        kind: str,
        inputs: Tensor,
        ask: Callable[[Tensor], Tensor] | None = None,
        logits: Tensor | None = None,
    ) -> None:
        if not len(inputs):
            return
        most = self._most(arm)
        at_a_time = _ASKED if kind == "asked" else most[kind]
        rows = np.sort(self._draw.permutation(len(inputs))[:at_a_time])
        picked = torch.from_numpy(rows).to(inputs.device)
        points, ranks = inputs.detach()[picked], self._draw.random(len(rows)).tolist()
        answers = [None] * len(rows) if logits is None else logits.detach()[picked].unbind()
        kept = self._kept.setdefault((arm, kind), [])
        for rank, point, answer in zip(ranks, points, answers, strict=True):
            if point.isfinite().all():  # NaN is what a search gives that gave up
                kept.append(_Point(rank, self._count, point, ask, answer))
                self._count += 1
        if len(kept) > (fitting := _fitting(kept, most[kind])):
            chosen = sorted(kept, key=lambda point: point.rank)[:fitting]
            kept[:] = sorted(chosen, key=lambda point: point.number)

    def _most(self, arm: str) -> dict[str, int]:
        """Of each kind how many points of an arm are kept, if they are small."""
        return _MOST_OF_BARE if self.compared and arm == "unfiltered" else _MOST

    def points(self, arm: str) -> list[Tensor]:
        """What is kept of an arm, in the order of its searches, each ``(...)``."""
        found = [point for kind in _MOST for point in self._kept.get((arm, kind), ())]
        return [point.input.cpu() for point in sorted(found, key=lambda point: point.number)]

    def confirm(self) -> None:
        """Ask once more, at the end of a run, what was asked during its searches.

        Whoever answers otherwise has a state that no later run can know.
        """
        for kept in self._kept.values():
            self.steady &= all(_answers_again(*group) for group in _by_side(kept))
            kept[:] = [replace(point, asked=None, answer=None) for point in kept]


def _fitting(kept: list[_Point], most: int) -> int:
    """How many points of a kind are kept: fewer of large inputs."""
    if not kept:
        return most
    size = max(kept[0].input.nbytes, 1)
    total = max(min(_FEW, _MOST_BYTES // size), _BYTES // size)
    return min(most, total * most // sum(_MOST.values()))


def _by_side(points: list[_Point]) -> Iterator[tuple[Callable[[Tensor], Tensor], list[_Point]]]:
    """Points with answers, by who gave them."""
    for side in dict.fromkeys(point.asked for point in points):
        if side is not None:
            yield side, [point for point in points if point.asked is side]


def _answers_again(side: Callable[[Tensor], Tensor], points: list[_Point]) -> bool:
    with torch.no_grad():
        again = side(torch.stack([point.input for point in points]))
    before = torch.stack([point.answer for point in points if point.answer is not None])
    return same_logits(before, again)
