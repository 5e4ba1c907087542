"""What every attack is given and what watches it: the face between engine and attacks."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pytest_aerobust.attacks.losses import margin
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.bpda import have_direction


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
        bounds: Where each feature of an input may be, and which may change.
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
    bounds: Box
    places: np.ndarray
    samples: np.ndarray
    seed: int
    queries: int | None = None

    def box(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest values that the attacker may give to the inputs of `rows`.

        Both broadcast against ``(len(rows), ...)``; for a feature that may not change they are
        the input's own value.
        """
        # Rows differ in what is frozen alone: nothing is gathered where nothing is.
        frozen = self.bounds.mutable is not None
        return self.bounds.around(self.inputs[rows] if frozen else self.inputs[:0])

    def part(self, rows: Tensor) -> "Problem":
        """The same problem for some of its inputs."""
        members = rows.cpu().numpy()
        return replace(
            self,
            inputs=self.inputs[rows],
            labels=self.labels[rows],
            targets=None if self.targets is None else self.targets[rows],
            places=self.places[members],
            samples=self.samples[members],
        )


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


class Relay:
    """Shows a watcher a search among some of the samples, who have shown their gradients.

    Attributes:
        open: Which of the samples nobody has retired, as a mask.
    """

    def __init__(self, watcher: Watcher, rows: Tensor) -> None:
        self._watcher, self._rows = watcher, rows
        self.open = torch.ones_like(rows, dtype=torch.bool)

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        retired = self._watcher.retired(self._rows[rows], iterates, logits)
        self.open[rows[retired]] = False
        return retired

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        """Once is enough."""

    def saw_answers(self, rows: Tensor) -> None:
        self._watcher.saw_answers(self._rows[rows])


class Search(Protocol):
    """An attack as the engine runs it."""

    @property
    def block(self) -> int:
        """Samples that must be searched together, counted by their places."""

    @property
    def strength(self) -> Mapping[str, str]:
        """What the attack does, as text: its steps, their size and the like."""

    @property
    def passes(self) -> int | None:
        """What a sample that never retires costs in forward passes, one backward being two."""

    def travel(self, eps: float) -> float | None:
        """How far all steps together can move, in multiples of eps; None where unknown."""

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """Where the search ended: candidates for every sample, each tensor ``(n, ...)``."""


def loss_gradients(problem: Problem) -> Tensor:
    """Gradients ``(n, ...)`` at the inputs themselves, as :func:`directed` gives them.

    With targets they are those of the targets: where a confident model's loss of the labels is
    flat, that of the targets is steep.

    Raises:
        ModelError: The attacked side is not differentiable.
    """
    inputs = problem.inputs.detach().requires_grad_()
    classes = problem.labels if problem.targets is None else problem.targets
    loss = cross_entropy(problem.ask(inputs), classes, reduction="sum")
    return directed(problem, inputs, problem.gradient(loss, inputs), classes, None)


def directed(
    problem: Problem, inputs: Tensor, gradients: Tensor, labels: Tensor, targets: Tensor | None
) -> Tensor:
    """Gradients of a loss, and those of the margin wherever they give no direction.

    The cross entropy of a model that is very sure of itself is 0 in float32, its margin is not.

    Args:
        problem: Who is asked.
        inputs: Where the gradients were taken ``(n, ...)``.
        gradients: Those of the loss.
        labels: Whose margin it is, ``(n,)``.
        targets: Where the margin is that of a target, ``(n,)``; else None.
    """
    blind = ~have_direction(gradients)
    if not blind.any():
        return gradients
    again = inputs[blind].detach().requires_grad_()
    wanted = None if targets is None else targets[blind]
    loss = margin(problem.ask(again), labels[blind], wanted).sum()
    gradients = gradients.clone()
    gradients[blind] = problem.gradient(loss, again)
    return gradients


# Objects within objects that a setting's text looks into.
_DEPTH = 4


def public_settings(attack: object) -> dict[str, str]:
    """The attributes that an attack's constructor set, as text; what is unset is left out."""
    return {
        name: f"{value:.4g}" if isinstance(value, float) else setting_text(value)
        for name, value in vars(attack).items()
        if not name.startswith("_") and value is not None
    }


def setting_text(value: object, depth: int = _DEPTH) -> str:
    """A setting as text that is the same in every process, and other where its content is.

    Objects that say nothing of themselves are told by their class and their own settings, arrays
    by a digest: what Python and torch print of them is an address, or a part.
    """

    def inside(each: object) -> str:
        return repr(each) if isinstance(each, str) else setting_text(each, depth - 1)

    if isinstance(value, Tensor | np.ndarray):
        return array_text(value)
    if isinstance(value, Mapping) and depth:
        return f"{{{', '.join(f'{inside(key)}: {inside(value[key])}' for key in value)}}}"
    if isinstance(value, list | tuple) and depth:
        brackets = "[]" if isinstance(value, list) else "()"
        return ", ".join(map(inside, value)).join(brackets)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    if type(value).__repr__ is not object.__repr__ and not isinstance(value, nn.Module):
        return str(value)
    own = {name: each for name, each in getattr(value, "__dict__", {}).items() if depth}
    told = (f"{name}={inside(each)}" for name, each in own.items() if each is not None)
    return f"{type(value).__name__}({', '.join(told)})"


def array_text(value: Tensor | np.ndarray) -> str:
    """Its form, and a digest of its content: what NumPy and torch print is a part.

    What has no content of numbers, a sparse tensor or an array of objects, is told by its form.
    """
    kind = str(value.dtype).removeprefix("torch.")
    digest = hashlib.blake2b(_bytes_of(value), digest_size=8).hexdigest()
    return f"{kind}{tuple(value.shape)} digest {digest}"


def _bytes_of(value: Tensor | np.ndarray) -> bytes:
    if not isinstance(value, Tensor):
        return b"" if value.dtype.hasobject else value.tobytes()
    try:
        # Through bytes: NumPy knows fewer precisions than torch.
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8)
    except RuntimeError:
        return b""
    data: bytes = content.numpy().tobytes()
    return data
