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

from pytest_aerobust.attacks.auto_pgd.attack import (
    L1APGD,
    L1APGDCE,
    L1APGDDLR,
    L1APGDT,
    L2APGD,
    L2APGDCE,
    L2APGDDLR,
    L2APGDT,
    AutoPGD,
    LinfAPGD,
    LinfAPGDCE,
    LinfAPGDDLR,
    LinfAPGDT,
    Targeted,
)
from pytest_aerobust.attacks.foolbox.adapter import SearchAttack
from pytest_aerobust.attacks.gradient import L2BIM, L2FGSM, LinfBIM, LinfFGSM
from pytest_aerobust.attacks.losses import margin
from pytest_aerobust.attacks.search import Problem, Relay, Search, Watcher
from pytest_aerobust.attacks.square.attack import L1Square, L2Square, LinfSquare, Square


@dataclass(frozen=True)
class Stage:
    """One part of the cascade.

    Attributes:
        words: What it is, for a report.
        attack: How it searches.
        near: It goes after those alone of whose clean margin at most this share is left; None
            goes after everybody.
        warm: It starts where each sample came nearest to the border.
        led: It goes after those alone whom the stage before it brought nearer than all others.
    """

    words: str
    attack: Search
    near: float | None = None
    warm: bool = False
    led: bool = False

    def __str__(self) -> str:
        warm = " from the nearest point so far" if self.warm else ""
        share = "" if self.near is None else f"{self.near:.0%}"
        near = f" where at most {share} of the margin is left" if share else ""
        led = " where that came nearest" if self.led else ""
        return self.words + warm + near + led

    @property
    def everybody(self) -> bool:
        """Whether it goes after all that are left."""
        return self.near is None and not self.led

    def search(
        self, problem: Problem, watcher: Watcher, starts: Tensor | None = None
    ) -> Sequence[Tensor]:
        """Run it, from starts where it is warm; only the first stage shows the first gradients."""
        if isinstance(self.attack, AutoPGD) and isinstance(watcher, Relay):
            return self.attack.climb(problem, watcher, starts)
        if isinstance(self.attack, Square):
            return self.attack.improve(problem, watcher, starts)
        return self.attack.search(problem, watcher)


class WorstCase(SearchAttack):
    """Every stage on the survivors of the stages before it."""

    stages: Sequence[Stage]

    @property
    def passes(self) -> int:
        """What a sample costs that comes nowhere near the border."""
        return sum(stage.attack.passes or 0 for stage in self.stages if stage.everybody)

    @property
    def strength(self) -> Mapping[str, str]:
        """The stages in their order."""
        return {"stages": ", then ".join(map(str, self.stages))}

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """Run the stages until all have retired; where every sample was after each of them."""
        sightings = _Sightings(problem, watcher)
        found, ends = [], problem.inputs
        for number, stage in enumerate(self.stages):
            rows = sightings.enter(number, stage)
            if not len(rows):
                continue
            # Each stage draws numbers of its own.
            part = replace(problem.part(rows), seed=problem.seed + number)
            relay = Relay(sightings, rows) if number else sightings
            starts = sightings.nearest[rows] if stage.warm else None
            *_, last = stage.search(part, relay, starts)
            ends = ends.index_copy(0, rows, last)
            found.append(ends)
        return found


class _Sightings:
    """Shows a watcher all stages, and remembers how near each sample came to the border.

    Attributes:
        nearest: The point ``(n, ...)`` of the largest margin so far.
    """

    def __init__(self, problem: Problem, watcher: Watcher) -> None:
        self._problem, self._watcher = problem, watcher
        with torch.no_grad():
            logits = problem.ask(problem.inputs)
        self._clean = margin(logits, problem.labels, problem.targets)
        self._margins, self.nearest = self._clean.clone(), problem.inputs.clone()
        self._leaders, self._stage = torch.full_like(problem.labels, -1), 0
        self._open = torch.ones_like(problem.labels, dtype=torch.bool)

    def enter(self, number: int, stage: Stage) -> Tensor:
        """Begin a stage: the rows that it goes after."""
        self._stage = number
        wanted = self._open.clone()
        if stage.near is not None:
            wanted &= self._margins >= stage.near * self._clean
        if stage.led:
            wanted &= self._leaders == number - 1
        return wanted.nonzero().flatten()

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        if logits is None:
            raise TypeError("a cascade needs the logits of its stages")
        self._remember(rows, iterates, logits)
        retired = self._watcher.retired(rows, iterates, logits)
        self._open[rows[retired]] = False
        return retired

    def _remember(self, rows: Tensor, iterates: Tensor, logits: Tensor) -> None:
        targets = None if self._problem.targets is None else self._problem.targets[rows]
        margins = margin(logits, self._problem.labels[rows], targets)
        nearer = margins > self._margins[rows]
        rows = rows[nearer]
        self._margins[rows], self.nearest[rows] = margins[nearer], iterates[nearer]
        self._leaders[rows] = self._stage

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        self._watcher.saw_gradients(rows, gradients)

    def saw_answers(self, rows: Tensor) -> None:
        self._watcher.saw_answers(rows)


def _later(
    ratio: type[AutoPGD],
    targeted: type[Targeted],
    every: type[AutoPGD],
    square: type[Square],
    queries: int,
) -> tuple[Stage, ...]:
    """The stages behind the cross entropy, the same in each norm.

    A few queries of Square for all are there for masked gradients: where scores come nearer,
    scores go on. The dear stages go after the near alone: on the models of benchmarks/, whoever
    fell to them had less than a tenth of the margin left.
    """
    return (
        Stage("APGD-DLR (40 steps)", ratio(steps=40)),
        Stage("Square (50 queries)", square(steps=50)),
        Stage("Square (1000 queries)", square(steps=1000), led=True),
        Stage("APGD-T (3 classes, 20 steps)", targeted(steps=20, classes=3), near=0.5),
        Stage("APGD-DLR (3 starts, 100 steps)", ratio(steps=100, restarts=3), near=0.25),
        Stage("APGD-T (3 classes, 100 steps)", targeted(steps=100, classes=3), near=0.15),
        Stage("APGD (3 losses, 100 steps)", every(steps=100), near=0.2, warm=True),
        Stage(f"Square ({queries} queries)", square(steps=queries), near=0.15, warm=True),
    )


class LinfWorstCase(WorstCase):
    """The worst case in the Linf ball."""

    distance = distances.linf
    stages = (
        Stage("FGSM", LinfFGSM()),
        Stage("BIM (10 steps)", LinfBIM()),
        Stage("BIM (random start, 10 steps)", LinfBIM(random_start=True)),
        Stage("APGD-CE (20 steps)", LinfAPGDCE(steps=20)),
        *_later(LinfAPGDDLR, LinfAPGDT, LinfAPGD, LinfSquare, queries=2000),
    )


class L2WorstCase(WorstCase):
    """The worst case in the L2 ball."""

    distance = distances.l2
    stages = (
        Stage("FGSM", L2FGSM()),
        Stage("BIM (10 steps)", L2BIM()),
        Stage("BIM (random start, 10 steps)", L2BIM(random_start=True)),
        Stage("APGD-CE (20 steps)", L2APGDCE(steps=20)),
        *_later(L2APGDDLR, L2APGDT, L2APGD, L2Square, queries=500),
    )


class L1WorstCase(WorstCase):
    """The worst case in the L1 ball, from Auto-PGD on: our FGSM and BIM know no L1."""

    distance = distances.l1
    stages = (
        Stage("APGD-CE (40 steps)", L1APGDCE(steps=40)),
        *_later(L1APGDDLR, L1APGDT, L1APGD, L1Square, queries=500),
    )
