"""Auto-PGD: gradient ascent that finds its own step size, in Linf, L2 and L1.

Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks"; in L1 Croce & Hein 2021, "Mind the box: l1-APGD for sparse adversarial
attacks on image classifiers".
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from foolbox import distances
from torch import Tensor

from pytest_aerobust.attacks.auto_pgd.ascent import ascend
from pytest_aerobust.attacks.auto_pgd.steps import Momentum, Sparse
from pytest_aerobust.attacks.balls import Ball, L1Ball, L2Ball, LinfBall
from pytest_aerobust.attacks.foolbox.adapter import SearchAttack
from pytest_aerobust.attacks.losses import Loss, cross_entropy, dlr, margin, towards
from pytest_aerobust.attacks.search import Problem, Relay, Watcher, loss_gradients
from pytest_aerobust.subjects.randomness import sample_generator


class AutoPGD(SearchAttack):
    """Runs of ascent from random starts; a sample that is retired is attacked no further.

    A norm says how its ball looks and how one steps in it, a variant what is raised.

    Args:
        steps: Gradients in each run.
        restarts: Random starts of each run.
    """

    ball: type[Ball]
    stride: type[Momentum] | type[Sparse]

    def __init__(self, *, steps: int = 100, restarts: int = 1) -> None:
        self.steps, self.restarts = steps, restarts

    @property
    def passes(self) -> int:
        """A forward and a backward pass for each step of each run."""
        return 3 * self.steps * self.restarts

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """Climb until all have retired; the watcher sees every iterate.

        The end of a sample is the iterate that retired it, or else the best of its last run.
        """
        rows = torch.arange(len(problem.inputs), device=problem.inputs.device)
        watcher.saw_gradients(rows, loss_gradients(problem))
        return self.climb(problem, watcher)

    def climb(
        self, problem: Problem, watcher: Watcher, starts: Tensor | None = None
    ) -> list[Tensor]:
        """As :meth:`search`, for a watcher who has seen the gradients.

        Args:
            problem: What is attacked.
            watcher: Is shown every iterate.
            starts: Where all runs start ``(n, ...)``; at random where there is None.
        """
        rows = torch.arange(len(problem.inputs), device=problem.inputs.device)
        ends = problem.inputs.clone()
        runs = [run for _ in range(self.restarts) for run in self.runs(problem)]
        for number, (loss, targets) in enumerate(runs):
            relay = Relay(watcher, rows)
            part = replace(problem, targets=targets).part(rows)
            first = random_starts(part, self.ball, number) if starts is None else starts[rows]
            stride = self.stride(part, self.ball, self.steps)
            ends[rows] = ascend(part, relay, first, loss, stride, self.steps)
            rows = rows[relay.open]
            if not len(rows):
                break
        return [ends]

    def runs(self, problem: Problem) -> Sequence[tuple[Loss, Tensor | None]]:
        """What is raised in each run, and the classes ``(n,)`` that it is to lead to."""
        raise NotImplementedError


def random_starts(problem: Problem, ball: type[Ball], number: int) -> Tensor:
    """Points of the ball and the bounds ``(n, ...)``, each sample's from a stream of its own."""
    size = problem.inputs[0].numel()
    draws = [
        ball.noise(sample_generator(problem.seed, int(s), restart=number), size)
        for s in problem.samples
    ]
    moves = torch.as_tensor(np.stack(draws), dtype=problem.inputs.dtype)
    moves = moves.to(problem.inputs.device).reshape_as(problem.inputs)
    rows = torch.arange(len(draws), device=moves.device)
    return (problem.inputs + problem.eps * moves).clamp(*problem.box(rows))


def likeliest(problem: Problem, count: int) -> list[Tensor]:
    """The wrong classes of largest logits at the inputs, the largest first, each ``(n,)``."""
    with torch.no_grad():
        logits = problem.ask(problem.inputs)
    wrong = logits.scatter(1, problem.labels[:, None], -torch.inf)
    ranked = wrong.topk(min(count, logits.shape[1] - 1), dim=1).indices
    return list(ranked.unbind(dim=1))


class _CrossEntropy(AutoPGD):
    def runs(self, problem: Problem) -> Sequence[tuple[Loss, Tensor | None]]:
        return [(cross_entropy, problem.targets)]


class _DLR(AutoPGD):
    def runs(self, problem: Problem) -> Sequence[tuple[Loss, Tensor | None]]:
        return [(dlr, problem.targets)]


class Targeted(AutoPGD):
    """Towards each of the likeliest wrong classes in turn, or to the attacker's own target.

    Args:
        steps: Gradients in each run.
        restarts: Random starts of each run.
        classes: How many wrong classes.
    """

    def __init__(self, *, steps: int = 100, restarts: int = 1, classes: int = 9) -> None:
        super().__init__(steps=steps, restarts=restarts)
        self.classes = classes

    @property
    def passes(self) -> int:
        return self.classes * super().passes

    def runs(self, problem: Problem) -> Sequence[tuple[Loss, Tensor | None]]:
        if problem.targets is not None:
            return [(dlr, problem.targets)]
        return [(towards, targets) for targets in likeliest(problem, self.classes)]


class _AllLosses(AutoPGD):
    def runs(self, problem: Problem) -> Sequence[tuple[Loss, Tensor | None]]:
        return [(loss, problem.targets) for loss in (cross_entropy, margin, dlr)]


class _Linf(AutoPGD):
    distance, ball, stride = distances.linf, LinfBall, Momentum


class _L2(AutoPGD):
    distance, ball, stride = distances.l2, L2Ball, Momentum


class _L1(AutoPGD):
    distance, ball, stride = distances.l1, L1Ball, Sparse


class LinfAPGDCE(_Linf, _CrossEntropy):
    """Auto-PGD on the cross entropy in the Linf ball."""


class L2APGDCE(_L2, _CrossEntropy):
    """Auto-PGD on the cross entropy in the L2 ball."""


class L1APGDCE(_L1, _CrossEntropy):
    """Auto-PGD on the cross entropy in the L1 ball."""


class LinfAPGDDLR(_Linf, _DLR):
    """Auto-PGD on the difference of logits ratio in the Linf ball."""


class L2APGDDLR(_L2, _DLR):
    """Auto-PGD on the difference of logits ratio in the L2 ball."""


class L1APGDDLR(_L1, _DLR):
    """Auto-PGD on the difference of logits ratio in the L1 ball."""


class LinfAPGDT(_Linf, Targeted):
    """Auto-PGD towards one wrong class after another in the Linf ball."""


class L2APGDT(_L2, Targeted):
    """Auto-PGD towards one wrong class after another in the L2 ball."""


class L1APGDT(_L1, Targeted):
    """Auto-PGD towards one wrong class after another in the L1 ball."""


class LinfAPGD(_Linf, _AllLosses):
    """Auto-PGD on one loss after another in the Linf ball."""


class L2APGD(_L2, _AllLosses):
    """Auto-PGD on one loss after another in the L2 ball."""


class L1APGD(_L1, _AllLosses):
    """Auto-PGD on one loss after another in the L1 ball."""
