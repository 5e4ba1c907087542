"""Any attack of Foolbox as it is, in blocks that draw the same numbers in every run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from foolbox import Misclassification, PyTorchModel, TargetedMisclassification
from foolbox.attacks.base import FixedEpsilonAttack, MinimizationAttack
from torch import Tensor, nn

from pytest_aerobust.attacks.search import Problem, Watcher, public_settings
from pytest_aerobust.catalogue import Norm
from pytest_aerobust.errors import AerobustError, AttackError
from pytest_aerobust.subjects.state import seed_globals


class StockAttack:
    """A Foolbox attack behind the engine's face.

    It draws from the global generators and may mix its batch, so it always sees the same
    block of 64 samples under the same seed.
    """

    block = 64

    def __init__(self, attack: Any, norm: Norm) -> None:
        self._attack, self._norm = attack, norm

    @property
    def strength(self) -> Mapping[str, str]:
        """What the constructor was told and what it took by default."""
        return public_settings(self._attack)

    def travel(self, eps: float) -> float | None:
        """Foolbox's step sizes mean something else in every class."""
        return None

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """The attack's own candidates and the same clipped to the ball.

        Raises:
            AttackError: Foolbox raised; its bare assertions carry no message.
        """
        numbers = problem.places // self.block
        found = [self._block(problem, numbers == number) for number in np.unique(numbers)]
        raw, clipped = (torch.cat(parts) for parts in zip(*found, strict=True))
        rows = torch.arange(len(raw), device=raw.device)
        left = rows[~watcher.retired(rows, raw, None)]
        watcher.retired(left, clipped[left], None)
        return [raw, clipped]

    def _block(self, problem: Problem, members: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(np.flatnonzero(members)).to(problem.inputs.device)
        block = replace(
            problem,
            inputs=problem.inputs[rows],
            labels=problem.labels[rows],
            places=problem.places[members],
            samples=problem.samples[members],
        )
        seed_globals(_block_seed(problem.seed, int(block.places[0]) // self.block))
        try:
            return self._run(block)
        except AerobustError:
            raise
        except Exception as cause:
            raise AttackError(
                f"{type(self._attack).__name__} broke down with {type(cause).__name__}: "
                f"{cause or 'a bare assertion'}. This says nothing about the model; try other "
                "attack_args or another attack"
            ) from cause

    def _run(self, problem: Problem) -> tuple[Tensor, Tensor]:
        model = PyTorchModel(
            _Asked(problem).eval(), bounds=problem.bounds, device=problem.inputs.device
        )
        goal = (
            Misclassification(problem.labels)
            if problem.target is None
            else TargetedMisclassification(torch.full_like(problem.labels, problem.target))
        )
        if isinstance(self._attack, FixedEpsilonAttack):
            raw = self._attack.run(model, problem.inputs, goal, epsilon=problem.eps)
        elif isinstance(self._attack, MinimizationAttack):
            raw = self._attack.run(model, problem.inputs, goal, early_stop=problem.eps)
        else:
            raw, _, _ = self._attack(model, problem.inputs, goal, epsilons=problem.eps)
        return raw.detach(), _into_ball(raw.detach(), problem, self._norm)


class _Asked(nn.Module):
    """The engine's checked question as the module that Foolbox wants."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._ask = problem.ask

    def forward(self, inputs: Tensor) -> Tensor:
        return self._ask(inputs)


def _into_ball(candidates: Tensor, problem: Problem, norm: Norm) -> Tensor:
    """The candidates pulled back into the ball along the line to their originals."""
    perturbation = (candidates - problem.inputs).flatten(1)
    if norm == "l0":  # no line leads into an L0 ball
        return candidates
    if norm == "linf":
        pulled = perturbation.clamp(-problem.eps, problem.eps)
    else:
        order = {"l2": 2.0, "l1": 1.0}[norm]
        norms = perturbation.norm(p=order, dim=1, keepdim=True).clamp_min(1e-12)
        pulled = perturbation * (problem.eps / norms).clamp_max(1.0)
    return (problem.inputs.flatten(1) + pulled).reshape_as(candidates).clamp(*problem.bounds)


def _block_seed(seed: int, block: int) -> int:
    return int(np.random.SeedSequence([seed, block]).generate_state(1)[0])
