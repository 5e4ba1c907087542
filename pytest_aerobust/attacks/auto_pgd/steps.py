"""How Auto-PGD steps: with momentum in Linf and L2, sparsely in L1."""

from math import ceil

import torch
from torch import Tensor

from pytest_aerobust.attacks.auto_pgd.ascent import Climbers
from pytest_aerobust.attacks.balls import Ball, aligned
from pytest_aerobust.attacks.search import Problem

# Croce & Hein 2020, section 3: the first step in multiples of eps, the weight of the fresh step
# beside the momentum, the share of steps that should rise, and between checkpoints the first
# distance, its shrinkage and its least value in shares of all steps.
_FIRST_STEP, _FRESH, _RISING = 2.0, 0.75, 0.75
_GAP, _SHRINKAGE, _LEAST_GAP = 0.22, 0.03, 0.06

# Croce & Hein 2021, section 4: the first share of coordinates that a step moves, the share of
# steps between checkpoints, the factor by which spread and step size fall, the ratio of spreads
# from which on the spread counts as settled, and the least step in multiples of eps.
_SPREAD, _PERIOD, _FALL, _SETTLED, _LEAST_STEP = 0.2, 0.04, 1.5, 0.95, 0.1


class Momentum:
    """Steepest ascent with momentum; the step is halved where progress stalls.

    Croce & Hein 2020, algorithm 1.
    """

    def __init__(self, problem: Problem, ball: type[Ball], steps: int) -> None:
        self._problem, self._ball = problem, ball
        self._gaps = _gaps(steps)

    def outset(self, rows: Tensor, centres: Tensor, starts: Tensor) -> Climbers:
        sizes = starts.new_full((len(starts),), _FIRST_STEP * self._problem.eps)
        return Climbers(rows, centres, starts, sizes, torch.ones_like(sizes))

    def move(self, climbers: Climbers, step: int) -> None:
        if step in self._gaps:
            self._halve(climbers, self._gaps[step])
        here = climbers.points
        uphill = aligned(climbers.sizes, here) * self._ball.steepest(climbers.gradients)
        fresh = self._inside(climbers, here + uphill)
        if step:
            momentum = (1 - _FRESH) * (here - climbers.before)
            fresh = self._inside(climbers, here + _FRESH * (fresh - here) + momentum)
        climbers.before, climbers.points = here, fresh

    def _halve(self, climbers: Climbers, gap: int) -> None:
        """Conditions 1 and 2: too few steps rose, or nothing came of the same step size."""
        stalled = ~climbers.resized & (climbers.checked == climbers.best_values)
        halved = stalled | (climbers.rises < _RISING * gap)
        climbers.sizes = torch.where(halved, climbers.sizes / 2, climbers.sizes)
        climbers.check(halved)

    def _inside(self, climbers: Climbers, points: Tensor) -> Tensor:
        return _inside(self._problem, self._ball, climbers, points)


class Sparse:
    """Steps of equal size in the steepest coordinates, fewer as the perturbation gets sparser.

    Croce & Hein 2021, algorithm 1, inside the ball itself.
    """

    def __init__(self, problem: Problem, ball: type[Ball], steps: int) -> None:
        self._problem, self._ball = problem, ball
        self._period = max(1, ceil(_PERIOD * steps))

    def outset(self, rows: Tensor, centres: Tensor, starts: Tensor) -> Climbers:
        sizes = starts.new_full((len(starts),), self._problem.eps)
        spreads = torch.full_like(sizes, max(1.0, _SPREAD * starts[0].numel()))
        return Climbers(rows, centres, starts, sizes, spreads)

    def move(self, climbers: Climbers, step: int) -> None:
        if step and step % self._period == 0:
            self._narrow(climbers)
        moves = _steepest_few(climbers.gradients, climbers.spreads)
        climbers.before = climbers.points
        uphill = aligned(climbers.sizes, moves) * moves
        climbers.points = _inside(self._problem, self._ball, climbers, climbers.points + uphill)

    def _narrow(self, climbers: Climbers) -> None:
        moved = (climbers.best != climbers.centres).flatten(1).sum(dim=1)
        spreads = (moved / _FALL).clamp_min(1.0)
        settled = spreads >= _SETTLED * climbers.spreads
        least = _LEAST_STEP * self._problem.eps
        smaller = (climbers.sizes / _FALL).clamp_min(least)
        climbers.sizes = torch.where(settled, smaller, torch.full_like(smaller, self._problem.eps))
        climbers.spreads = spreads
        climbers.check(torch.ones_like(climbers.resized))


def _steepest_few(gradients: Tensor, spreads: Tensor) -> Tensor:
    """Signs of the largest coordinates of the gradients, divided by their number."""
    sizes = gradients.abs().flatten(1)
    ranked = sizes.sort(dim=1, descending=True).values
    few = spreads.round().long().clamp(1, sizes.shape[1])
    steep = (sizes >= ranked.gather(1, few[:, None] - 1)) & (sizes > 0)
    shares = steep / steep.sum(dim=1, keepdim=True).clamp_min(1)
    return gradients.sign() * shares.reshape_as(gradients)


def _inside(problem: Problem, ball: type[Ball], climbers: Climbers, points: Tensor) -> Tensor:
    return ball.project(points, climbers.centres, problem.eps, problem.box(climbers.rows))


def _gaps(steps: int) -> dict[int, int]:
    """Checkpoints of a run, each with its distance from the one before."""
    last, gap, found = 0, _GAP, {}
    place = gap
    while place < 1:
        found[ceil(place * steps)] = ceil(place * steps) - last
        last = ceil(place * steps)
        gap = max(gap - _SHRINKAGE, _LEAST_GAP)
        place += gap
    return found
