"""FGSM, BIM, PGD and MI-FGSM as Foolbox attacks whose samples retire.

Foolbox attacks every sample for all steps. Here whoever watches the search is shown every
iterate together with the logits that the next gradient needs anyway, and a sample that it
retires is attacked no further. Where nobody retires and the steps are of the same size, an
iterate is the one that Foolbox's own class computes, operation by operation.
"""

from collections.abc import Mapping
from typing import Any

import eagerpy as ep
import numpy as np
import torch
from foolbox.attacks.base import raise_if_kwargs
from foolbox.attacks.gradient_descent_base import (
    BaseGradientDescent,
    L2BaseGradientDescent,
    LinfBaseGradientDescent,
)
from foolbox.types import Bounds
from torch import Tensor
from torch.nn.functional import cross_entropy

from pytest_aerobust.attacks.balls import L2Ball, LinfBall
from pytest_aerobust.attacks.foolbox.adapter import searched
from pytest_aerobust.attacks.search import Problem, Watcher, directed, public_settings
from pytest_aerobust.subjects.randomness import sample_generator


class RetiringDescent(BaseGradientDescent):
    """Descent on the summed cross entropy inside the ball, sample by sample given up.

    A variant inherits the geometry (`normalize`, `project`) from the Foolbox class of its norm
    and may replace :meth:`direction`.
    """

    block = 1

    @property
    def strength(self) -> Mapping[str, str]:
        """Steps, their size and the start."""
        return public_settings(self)

    @property
    def passes(self) -> int:
        """A forward and a backward pass for each step, and a look at its end."""
        return 3 * self.steps + 1

    def travel(self, eps: float) -> float:
        """How far all steps together can move, in multiples of eps."""
        return self.steps * self._stepsize(eps) / eps

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """Ascend the loss of the labels, or descend that of the target, step by step.

        The watcher sees every iterate but an unmoved start, the last one included.
        """
        inputs, ascending, classes = _goal(problem)
        start = self._start(problem)
        ends = start.clone()
        rows = torch.arange(len(inputs), device=inputs.device)
        iterates, memory = start, None
        stepsize = self._stepsize(problem.eps)
        for step in range(self.steps + 1):
            iterates = iterates.detach().requires_grad_(step < self.steps)
            logits = problem.ask(iterates)
            if step or self.random_start:
                ends[rows] = iterates.detach()
                kept = ~watcher.retired(rows, iterates.detach(), logits.detach())
            else:
                kept = torch.ones_like(rows, dtype=torch.bool)
            if step == self.steps or not kept.any():
                break
            loss = cross_entropy(logits, classes[rows], reduction="sum")
            gradients = problem.gradient(loss, iterates)[kept]
            rows = rows[kept]
            gradients = directed(problem, iterates[kept], gradients, classes[rows], None)
            if step == 0:
                watcher.saw_gradients(rows, gradients)
            directions, memory = self.direction(
                gradients.nan_to_num(0.0, 0.0, 0.0), None if memory is None else memory[kept]
            )
            moved = iterates.detach()[kept] + ascending * (stepsize * directions)
            inside = self._projected(moved, inputs[rows], problem.eps)
            iterates = inside.clamp(*problem.box(rows))
        return [ends]

    def direction(self, gradients: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Unit steps for gradients ``(n, ...)``, and what the next step should remember."""
        return self._normalised(gradients), None

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        """Foolbox's face: a sample retires when the model's answer meets the criterion."""
        raise_if_kwargs(kwargs)
        return searched(self, model, inputs, criterion, epsilon)

    def _start(self, problem: Problem) -> Tensor:
        if not self.random_start:
            return problem.inputs
        flat, free = problem.inputs.flatten(1), problem.bounds.mask(problem.inputs[0])
        draws = (
            self.unit_noise(sample_generator(problem.seed, int(sample)), int(free.sum()))
            for sample in problem.samples
        )
        noise = torch.zeros_like(flat)
        noise[:, free] = torch.as_tensor(np.stack(list(draws)), dtype=flat.dtype).to(flat.device)
        low, high = problem.bounds.around(problem.inputs)
        return (flat + problem.eps * noise).reshape_as(problem.inputs).clamp(low, high)

    def unit_noise(self, generator: np.random.Generator, size: int) -> np.ndarray:
        """One uniform draw from the unit ball of the norm, ``(size,)``."""
        raise NotImplementedError

    def _stepsize(self, eps: float) -> float:
        return float(self.rel_stepsize * eps if self.abs_stepsize is None else self.abs_stepsize)

    def _normalised(self, gradients: Tensor) -> Tensor:
        unit: Tensor = self.normalize(
            ep.astensor(gradients), x=ep.astensor(gradients), bounds=Bounds(0, 1)
        ).raw
        return unit

    def _projected(self, iterates: Tensor, inputs: Tensor, eps: float) -> Tensor:
        inside: Tensor = self.project(ep.astensor(iterates), ep.astensor(inputs), eps).raw
        return inside


def _goal(problem: Problem) -> tuple[Tensor, float, Tensor]:
    if problem.targets is None:
        return problem.inputs, 1.0, problem.labels
    return problem.inputs, -1.0, problem.targets


class _Linf:
    unit_noise = staticmethod(LinfBall.noise)


class _L2:
    unit_noise = staticmethod(L2Ball.noise)


class _OneStep(RetiringDescent):
    """The fast gradient (sign) method: Goodfellow, Shlens & Szegedy 2015."""

    def __init__(self, *, random_start: bool = False) -> None:
        super().__init__(rel_stepsize=1.0, steps=1, random_start=random_start)


class _Iterative(RetiringDescent):
    """The basic iterative method: Kurakin, Goodfellow & Bengio 2017.

    Unless told otherwise, all steps together travel 2 eps, however many they are (Foolbox's
    step stays 0.2 eps, so that fewer steps may not even leave the middle of the ball).
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        rel_stepsize: float | None = None,
        abs_stepsize: float | None = None,
        random_start: bool = False,
    ) -> None:
        super().__init__(
            rel_stepsize=2.0 / steps if rel_stepsize is None else rel_stepsize,
            abs_stepsize=abs_stepsize,
            steps=steps,
            random_start=random_start,
        )


class _Projected(RetiringDescent):
    """Projected gradient descent from a random start: Madry et al. 2018.

    Unless told otherwise, all steps together travel 2.5 eps as there. Foolbox's 40 steps travel
    1.33 eps, so a sample that starts at one side of the ball never reaches the other.
    """

    def __init__(
        self,
        *,
        steps: int = 40,
        rel_stepsize: float | None = None,
        abs_stepsize: float | None = None,
        random_start: bool = True,
    ) -> None:
        super().__init__(
            rel_stepsize=2.5 / steps if rel_stepsize is None else rel_stepsize,
            abs_stepsize=abs_stepsize,
            steps=steps,
            random_start=random_start,
        )


class _Momentum(_Iterative):
    """Momentum over gradients of unit mean, then the norm's unit step.

    Dong et al. 2018, "Boosting Adversarial Attacks with Momentum", equations 6 and 7. (Foolbox
    normalises by the norm's unit step *before* it accumulates, which forgets how the gradient
    is spread over the pixels.)
    """

    def __init__(self, *, momentum: float = 1.0, **steps: Any) -> None:
        super().__init__(**steps)
        self.momentum = momentum

    def direction(self, gradients: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
        scale = gradients.abs().flatten(1).mean(dim=1).clamp_min(torch.finfo(gradients.dtype).tiny)
        fresh = gradients / scale.reshape(-1, *[1] * (gradients.ndim - 1))
        remembered = fresh if memory is None else self.momentum * memory + fresh
        return self._normalised(remembered), remembered


class LinfFGSM(_Linf, _OneStep, LinfBaseGradientDescent):
    """Fast gradient sign method in the Linf ball."""


class L2FGSM(_L2, _OneStep, L2BaseGradientDescent):
    """Fast gradient method in the L2 ball: one step of length eps."""


class LinfBIM(_Linf, _Iterative, LinfBaseGradientDescent):
    """Basic iterative method in the Linf ball."""


class L2BIM(_L2, _Iterative, L2BaseGradientDescent):
    """Basic iterative method in the L2 ball."""


class LinfPGD(_Linf, _Projected, LinfBaseGradientDescent):
    """Projected gradient descent in the Linf ball."""


class L2PGD(_L2, _Projected, L2BaseGradientDescent):
    """Projected gradient descent in the L2 ball."""


class LinfMIFGSM(_Linf, _Momentum, LinfBaseGradientDescent):
    """Momentum iterative method in the Linf ball."""


class L2MIFGSM(_L2, _Momentum, L2BaseGradientDescent):
    """Momentum iterative method in the L2 ball."""
