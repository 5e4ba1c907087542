"""Any attack of Foolbox as it is, in blocks that draw the same numbers in every run."""

import warnings
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from foolbox import Misclassification, PyTorchModel, TargetedMisclassification
from foolbox.attacks.base import FixedEpsilonAttack, MinimizationAttack
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from torch import Tensor, nn

from pytest_aerobust.attacks.search import Problem, Watcher, loss_gradients, public_settings
from pytest_aerobust.catalogue import Norm
from pytest_aerobust.choice import AttackChoice
from pytest_aerobust.errors import AerobustError, AttackError
from pytest_aerobust.subjects.state import seed_globals


class StockAttack:
    """A Foolbox attack behind the engine's face.

    It draws from the global generators and may mix its batch, so it always sees the same
    block of 64 samples under the same seed.
    """

    block = 64

    def __init__(self, attack: Any, choice: AttackChoice) -> None:
        self._attack, self._norm = attack, choice.norm
        self._needs_gradients = choice.spec.access == "gradient"
        self._worked, self._gave_up = False, cast("AttackError | None", None)

    @property
    def strength(self) -> Mapping[str, str]:
        """What the constructor was told and what it took by default."""
        return public_settings(self._attack)

    def travel(self, eps: float) -> float | None:
        """Known for descents with a step size of their own; elsewhere a step means many things."""
        if not isinstance(self._attack, BaseGradientDescent):
            return None
        absolute = self._attack.abs_stepsize
        size = self._attack.rel_stepsize if absolute is None else absolute / eps
        return float(self._attack.steps * size)

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """The attack's own candidates and the same clipped to the ball.

        Raises:
            ModelError: The attack needs gradients, and the attacked side has none.
            AttackError: Foolbox raises on every sample.
        """
        rows = torch.arange(len(problem.inputs), device=problem.inputs.device)
        if self._needs_gradients:
            watcher.saw_gradients(rows, loss_gradients(problem))
        numbers = problem.places // self.block
        found = [self._block(problem, numbers == number) for number in np.unique(numbers)]
        raw = torch.cat(found)
        clipped = _into_ball(raw, problem, self._norm)
        left = rows[~watcher.retired(rows, raw, None)]
        watcher.retired(left, clipped[left], None)
        return [raw, clipped]

    def _block(self, problem: Problem, members: np.ndarray) -> Tensor:
        """Candidates for one block; NaN, which is void evidence, where Foolbox gives up.

        Raises:
            AttackError: It has given up on every sample so far.
        """
        block = _part(problem, members)
        found = self._halved(block, _block_seed(problem.seed, int(block.places[0]) // self.block))
        if self._gave_up is not None and not self._worked:
            raise self._gave_up
        return found

    def _halved(self, problem: Problem, seed: int) -> Tensor:
        """One sample without a starting point ends Foolbox's whole batch: look for it by halves."""
        try:
            found = self._candidates(problem, seed)
        except AttackError as error:
            self._gave_up = error
            if len(problem.places) == 1:
                return torch.full_like(problem.inputs, torch.nan)
            first = np.arange(len(problem.places)) < len(problem.places) // 2
            parts = (_part(problem, half) for half in (first, ~first))
            return torch.cat([self._halved(part, seed) for part in parts])
        self._worked = True
        return found

    def _candidates(self, problem: Problem, seed: int) -> Tensor:
        seed_globals(seed)
        with warnings.catch_warnings():
            # Under -W error a remark of Foolbox would end the search.
            warnings.filterwarnings("default", module="foolbox")
            try:
                candidates = self._run(problem)
                return candidates.detach().to(problem.inputs).reshape_as(problem.inputs)
            except AerobustError:
                raise
            except Exception as cause:
                raise AttackError(
                    f"{type(self._attack).__name__} broke down with {type(cause).__name__}: "
                    f"{str(cause) or 'a bare assertion'}. This says nothing about the model; try "
                    "other attack_args or another attack"
                ) from cause

    def _run(self, problem: Problem) -> Tensor:
        # Foolbox asserts bounds exactly, so they must be numbers that the inputs can take.
        low, high = problem.inputs.new_tensor(problem.bounds).tolist()
        model = PyTorchModel(
            _Asked(problem).eval(), bounds=(low, high), device=problem.inputs.device
        )
        goal = (
            Misclassification(problem.labels)
            if problem.targets is None
            else TargetedMisclassification(problem.targets)
        )
        found: Tensor
        if isinstance(self._attack, FixedEpsilonAttack):
            found = self._attack.run(model, problem.inputs, goal, epsilon=problem.eps)
        elif isinstance(self._attack, MinimizationAttack):
            found = self._attack.run(model, problem.inputs, goal, early_stop=problem.eps)
        else:
            found, _, _ = self._attack(model, problem.inputs, goal, epsilons=problem.eps)
        return found


def _part(problem: Problem, members: np.ndarray) -> Problem:
    return problem.part(torch.from_numpy(np.flatnonzero(members)).to(problem.inputs.device))


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
