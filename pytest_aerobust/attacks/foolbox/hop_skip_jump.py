"""Foolbox's HopSkipJump, whose samples take no notice of each other."""

from collections.abc import Callable
from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks import HopSkipJumpAttack
from torch import Tensor

from pytest_aerobust.attacks.balls import aligned


class HopSkipJump(HopSkipJumpAttack):
    """HopSkipJump with an estimate of each sample's own (Chen, Jordan & Wainwright 2020).

    Foolbox divides the estimated directions of a batch by one norm over all of them, so that
    the length of a sample's step hangs on its company, and holds the probes of all steps at
    once, 800 times the size of a batch. Here each direction has unit length, and one probe is
    held at a time.
    """

    def approximate_gradients(
        self,
        is_adversarial: Callable[[ep.Tensor], ep.Tensor],
        x_advs: ep.Tensor,
        steps: int,
        delta: ep.Tensor,
    ) -> ep.Tensor:
        """The boundary's direction at `x_advs` ``(n, ...)`` from decisions around them.

        The paper's estimate with a baseline (section IV): the mean of the probes' directions, each
        weighted by its decision, 1 or -1, less the mean decision.

        Args:
            is_adversarial: Decides on a batch of probes.
            x_advs: Points at the boundary, in [0, 1].
            steps: Probes around each.
            delta: Distance of the probes, ``(n,)``.
        """
        points: Tensor = x_advs.raw
        radius = aligned(delta.raw.clamp_min(torch.finfo(points.dtype).tiny), points)
        weighted, plain = torch.zeros_like(points), torch.zeros_like(points)
        balance = torch.zeros_like(radius)
        for _ in range(steps):
            probes = (points + radius * self._directions(points)).clamp(0, 1)
            decided: Any = is_adversarial(ep.astensor(probes))
            said = aligned(torch.where(decided.raw, 1.0, -1.0).to(points), points)
            moved = (probes - points) / radius
            weighted, plain, balance = weighted + said * moved, plain + moved, balance + said
        # Where all decisions are one, their mean says nothing: the directions themselves count.
        baseline = torch.where(balance.abs() == steps, 0, balance / steps)
        return ep.astensor(_unit(weighted - baseline * plain))

    def _directions(self, points: Tensor) -> Tensor:
        if self.constraint == "linf":
            return _unit(torch.empty_like(points).uniform_(-1, 1))
        return _unit(torch.randn_like(points))


def _unit(directions: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(directions.flatten(1), dim=1)
    lengths = lengths.clamp_min(torch.finfo(directions.dtype).tiny)
    return directions / aligned(lengths, directions)
