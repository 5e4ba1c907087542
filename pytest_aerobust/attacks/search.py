"""What every attack is given and what watches it: the face between engine and attacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from pytest_aerobust.arguments import Bounds


@dataclass(frozen=True)
class Problem:
    """What one search is given.

    Attributes:
        ask: From inputs ``(n, ...)`` to logits ``(n, K)``.
        gradient: Gradient of a loss of such logits with respect to the inputs.
        inputs: ``(n, ...)``, inside the bounds.
        labels: ``(n,)``, the true classes.
        targets: The class that the attacker wants of each sample ``(n,)``, or None.
        eps: Radius of the ball.
        bounds: Smallest and largest value of an input.
        places: Place of each sample among all that are measured.
        samples: Number of each sample in the user's data; random starts are keyed by it, so
            that neither chunk size, nor company, nor a subset changes what a sample draws.
        seed: Seed of everything random.
        queries: The most answers that the attacked side gives for one sample; None where
            nobody counts. A search without gradients must keep to it.
    """

    ask: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    inputs: Tensor
    labels: Tensor
    targets: Tensor | None
    eps: float
    bounds: Bounds
    places: np.ndarray
    samples: np.ndarray
    seed: int
    queries: int | None = None


class Watcher(Protocol):
    """What sees a search step by step and says which samples may retire."""

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        """Which of `rows` need no further step, as a mask ``(len(rows),)``.

        Args:
            rows: Places in the problem's inputs.
            iterates: Their current candidates.
            logits: What the attacked side says to them; None where the attack keeps it.
        """

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        """Look at the gradients of `rows` at the start of the search."""

    def saw_answers(self, rows: Tensor) -> None:
        """Count one answer more for each of `rows`, by a search that needs no gradients."""


class Search(Protocol):
    """An attack as the engine runs it."""

    @property
    def block(self) -> int:
        """Samples that must be searched together, counted by their places."""

    @property
    def strength(self) -> Mapping[str, str]:
        """What the attack does, as text: its steps, their size and the like."""

    def travel(self, eps: float) -> float | None:
        """How far all steps together can move, in multiples of eps; None where unknown."""

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """Where the search ended: candidates for every sample, each tensor ``(n, ...)``."""


def loss_gradients(problem: Problem) -> Tensor:
    """Gradients ``(n, ...)`` of the cross entropy at the inputs themselves.

    With targets it is theirs: where a confident model's loss of the labels is flat, that of the
    targets is steep.

    Raises:
        ModelError: The attacked side is not differentiable.
    """
    inputs = problem.inputs.detach().requires_grad_()
    classes = problem.labels if problem.targets is None else problem.targets
    loss = cross_entropy(problem.ask(inputs), classes, reduction="sum")
    return problem.gradient(loss, inputs)


def public_settings(attack: object) -> dict[str, str]:
    """The attributes that an attack's constructor set, as text; what is unset is left out."""
    return {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in vars(attack).items()
        if not name.startswith("_") and value is not None
    }
