"""One run of Auto-PGD: from starts uphill, every iterate shown, the best points kept."""

from dataclasses import dataclass, field, fields
from typing import Protocol

import torch
from torch import Tensor

from pytest_aerobust.attacks.balls import aligned
from pytest_aerobust.attacks.losses import Loss
from pytest_aerobust.attacks.search import Problem, Watcher, directed


@dataclass
class Climbers:
    """The samples on their way, one row each; points and gradients are ``(n, ...)``.

    Attributes:
        rows: Their places in the problem.
        centres: Their inputs.
        points: Where they are.
        sizes: Their step sizes ``(n,)``.
        spreads: How many coordinates a step of theirs moves ``(n,)``, where steps are sparse.
        before: Where they were a step ago.
        gradients: Of the loss, at the points.
        values: The loss there ``(n,)``.
        best: The best points so far.
        best_gradients: Of the loss, at the best points.
        best_values: The loss there ``(n,)``.
        rises: How many steps since the last checkpoint raised the loss ``(n,)``.
        resized: Whether the last checkpoint changed the step size ``(n,)``.
        checked: The best values at the last checkpoint ``(n,)``.
    """

    rows: Tensor
    centres: Tensor
    points: Tensor
    sizes: Tensor
    spreads: Tensor
    before: Tensor = field(init=False)
    gradients: Tensor = field(init=False)
    values: Tensor = field(init=False)
    best: Tensor = field(init=False)
    best_gradients: Tensor = field(init=False)
    best_values: Tensor = field(init=False)
    rises: Tensor = field(init=False)
    resized: Tensor = field(init=False)
    checked: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.best = self.points
        self.gradients = self.best_gradients = torch.zeros_like(self.points)
        self.values = self.points.new_full((len(self.points),), -torch.inf)
        self.best_values = self.checked = self.values
        self.rises = torch.zeros_like(self.rows)
        self.resized = torch.zeros_like(self.rows, dtype=torch.bool)

    def see(self, values: Tensor, gradients: Tensor) -> None:
        """Take in the loss at the points."""
        self.rises = self.rises + (values > self.values)
        better = values > self.best_values
        self.values, self.gradients = values, gradients
        self.best = _chosen(better, self.points, self.best)
        self.best_gradients = _chosen(better, gradients, self.best_gradients)
        self.best_values = torch.where(better, values, self.best_values)

    def keep(self, kept: Tensor) -> None:
        """Go on with some of them."""
        if not kept.all():
            for each in fields(self):
                setattr(self, each.name, getattr(self, each.name)[kept])

    def check(self, resized: Tensor) -> None:
        """Pass a checkpoint: whose step size changed goes on from the best point."""
        self.points = _chosen(resized, self.best, self.points)
        self.gradients = _chosen(resized, self.best_gradients, self.gradients)
        self.rises = torch.zeros_like(self.rises)
        self.checked, self.resized = self.best_values, resized


def _chosen(who: Tensor, those: Tensor, others: Tensor) -> Tensor:
    return torch.where(aligned(who, those), those, others)


class Stride(Protocol):
    """How climbers of one norm step."""

    def outset(self, rows: Tensor, centres: Tensor, starts: Tensor) -> Climbers:
        """Climbers at their starts, with their first step sizes."""

    def move(self, climbers: Climbers, step: int) -> None:
        """Take the climbers, who have seen their gradients, one step on."""


def ascend(
    problem: Problem, watcher: Watcher, starts: Tensor, loss: Loss, stride: Stride, steps: int
) -> Tensor:
    """Raise a loss of the problem's logits from starts ``(n, ...)`` for some steps.

    Returns:
        For each sample the iterate that retired it, or else the best one ``(n, ...)``.

    Raises:
        ModelError: The attacked side is not differentiable.
    """
    ends = starts.clone()
    rows = torch.arange(len(starts), device=starts.device)
    climbers = stride.outset(rows, problem.inputs, starts)
    for step in range(steps + 1):
        kept = _looked(problem, watcher, climbers, loss, last=step == steps)
        ends[climbers.rows] = _chosen(kept, climbers.best, climbers.points)
        climbers.keep(kept)
        if step == steps or not len(climbers.rows):
            break
        stride.move(climbers, step)
    return ends


def _looked(
    problem: Problem, watcher: Watcher, climbers: Climbers, loss: Loss, last: bool
) -> Tensor:
    """Ask at the points, show them, take in loss and gradients; whom nobody retires, as a mask."""
    points, rows = climbers.points.detach().requires_grad_(not last), climbers.rows
    targets = None if problem.targets is None else problem.targets[rows]
    logits = problem.ask(points)
    values = loss(logits, problem.labels[rows], targets)
    kept = ~watcher.retired(rows, points.detach(), logits.detach())
    gradients = torch.zeros_like(climbers.points)
    if not last and kept.any():
        gradients = problem.gradient(values.sum(), points)
        gradients = directed(problem, points, gradients, problem.labels[rows], targets)
        gradients = gradients.nan_to_num(0.0, 0.0, 0.0)
    climbers.see(values.detach(), gradients)
    return kept
