"""The worst case: attacks from cheap to dear, each on the survivors of those before it.

After AutoAttack (Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an
ensemble of diverse parameter-free attacks"), whose parts each start over on every survivor for
their full course. Here most samples fall to a few steps, and the dearest parts go after those
alone whom an earlier part brought close to the border.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from foolbox import distances
from torch import Tensor

from pytest_aerobust.attacks.apgd import (
    L1APGDCE,
    L1APGDDLR,
    L1APGDT,
    L2APGDCE,
    L2APGDDLR,
    L2APGDT,
    AutoPGD,
    LinfAPGDCE,
    LinfAPGDDLR,
    LinfAPGDT,
)
from pytest_aerobust.attacks.face import SearchAttack
from pytest_aerobust.attacks.gradient import L2BIM, L2FGSM, LinfBIM, LinfFGSM
from pytest_aerobust.attacks.losses import margin
from pytest_aerobust.attacks.search import Problem, Relay, Search, Watcher
from pytest_aerobust.attacks.square import L1Square, L2Square, LinfSquare


@dataclass(frozen=True)
class Stage:
    """One part of the cascade.

    Attributes:
        words: What it is, for a report.
        attack: How it searches.
        near: It goes after those alone whose margin has shrunk to this share of the clean one;
            None goes after everybody.
    """

    words: str
    attack: Search
    near: float | None = None

    def search(self, problem: Problem, watcher: Watcher) -> Sequence[Tensor]:
        """Run it; only the first stage is asked for the gradients at the inputs."""
        if isinstance(self.attack, AutoPGD) and isinstance(watcher, Relay):
            return self.attack.climb(problem, watcher)
        return self.attack.search(problem, watcher)


class WorstCase(SearchAttack):
    """Every stage on the survivors of the stages before it."""

    stages: Sequence[Stage]

    @property
    def passes(self) -> int:
        """What a sample costs that comes nowhere near the border."""
        return sum(stage.attack.passes or 0 for stage in self.stages if stage.near is None)

    @property
    def strength(self) -> Mapping[str, str]:
        """The stages in their order."""
        return {"stages": ", then ".join(map(_words, self.stages))}

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """Run the stages until all have retired; where each sample was after every stage."""
        sightings = _Sightings(problem, watcher)
        found, ends = [], problem.inputs
        for number, stage in enumerate(self.stages):
            rows = sightings.wanted(stage.near)
            if not len(rows):
                continue
            # Each stage draws numbers of its own.
            part = replace(problem.part(rows), seed=problem.seed + number)
            *_, last = stage.search(part, Relay(sightings, rows) if number else sightings)
            ends = ends.index_copy(0, rows, last)
            found.append(ends)
        return found


class _Sightings:
    """Shows a watcher all stages, and remembers how near every sample came to the border."""

    def __init__(self, problem: Problem, watcher: Watcher) -> None:
        self._problem, self._watcher = problem, watcher
        with torch.no_grad():
            logits = problem.ask(problem.inputs)
        self._clean = margin(logits, problem.labels, problem.targets)
        self._best = self._clean.clone()
        self._open = torch.ones_like(problem.labels, dtype=torch.bool)

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        if logits is None:
            raise TypeError("a cascade needs the logits of its stages")
        problem = self._problem
        targets = None if problem.targets is None else problem.targets[rows]
        margins = margin(logits, problem.labels[rows], targets)
        self._best[rows] = torch.maximum(self._best[rows], margins)
        retired = self._watcher.retired(rows, iterates, logits)
        self._open[rows[retired]] = False
        return retired

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        self._watcher.saw_gradients(rows, gradients)

    def saw_answers(self, rows: Tensor) -> None:
        self._watcher.saw_answers(rows)

    def wanted(self, near: float | None) -> Tensor:
        """Rows of those not retired whose best margin is that near, as a share of the clean."""
        close = self._open if near is None else self._best >= near * self._clean
        return (self._open & close).nonzero().flatten()


def _words(stage: Stage) -> str:
    near = "" if stage.near is None else f" where under {stage.near:.0%} of the margin is left"
    return stage.words + near


class LinfWorstCase(WorstCase):
    """The worst case in the Linf ball."""

    distance = distances.linf
    stages = (
        Stage("FGSM", LinfFGSM()),
        Stage("BIM (10 steps)", LinfBIM()),
        Stage("BIM (10 steps, random start)", LinfBIM(random_start=True)),
        Stage("APGD-CE (20 steps)", LinfAPGDCE(steps=20)),
        Stage("APGD-DLR (40 steps)", LinfAPGDDLR(steps=40)),
        Stage("APGD-T (20 steps to each of 3 classes)", LinfAPGDT(steps=20, classes=3), 0.5),
        Stage("APGD-DLR (3 x 100 steps)", LinfAPGDDLR(steps=100, restarts=3), 0.25),
        Stage("APGD-T (100 steps to each of 3 classes)", LinfAPGDT(steps=100, classes=3), 0.15),
        Stage("Square (1000 queries)", LinfSquare(steps=1000), 0.15),
    )


class L2WorstCase(WorstCase):
    """The worst case in the L2 ball."""

    distance = distances.l2
    stages = (
        Stage("FGSM", L2FGSM()),
        Stage("BIM (10 steps)", L2BIM()),
        Stage("BIM (10 steps, random start)", L2BIM(random_start=True)),
        Stage("APGD-CE (20 steps)", L2APGDCE(steps=20)),
        Stage("APGD-DLR (40 steps)", L2APGDDLR(steps=40)),
        Stage("APGD-T (20 steps to each of 3 classes)", L2APGDT(steps=20, classes=3), 0.5),
        Stage("APGD-DLR (3 x 100 steps)", L2APGDDLR(steps=100, restarts=3), 0.25),
        Stage("APGD-T (100 steps to each of 3 classes)", L2APGDT(steps=100, classes=3), 0.15),
        Stage("Square (1000 queries)", L2Square(steps=1000), 0.15),
    )


class L1WorstCase(WorstCase):
    """The worst case in the L1 ball, where one step of ours is not defined."""

    distance = distances.l1
    stages = (
        Stage("APGD-CE (50 steps)", L1APGDCE(steps=50)),
        Stage("APGD-DLR (50 steps)", L1APGDDLR(steps=50)),
        Stage("APGD-T (50 steps to each of 3 classes)", L1APGDT(steps=50, classes=3), 0.5),
        Stage("Square (500 queries)", L1Square(steps=500), 0.3),
    )
