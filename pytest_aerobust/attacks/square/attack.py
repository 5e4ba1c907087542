"""Square attack: random windows, kept where they help; it asks for scores alone.

Andriushchenko, Croce, Flammarion & Hein 2020, "Square Attack: a query-efficient black-box
adversarial attack via random search".
"""

from bisect import bisect_right

import numpy as np
import torch
from foolbox import distances
from torch import Tensor

from pytest_aerobust.attacks.foolbox.adapter import SearchAttack
from pytest_aerobust.attacks.losses import margin
from pytest_aerobust.attacks.search import Problem, Watcher
from pytest_aerobust.attacks.square.windows import Bumps, Stripes, Windows
from pytest_aerobust.subjects.randomness import sample_generator

# What a window covers of an image at first, and the shares of all queries at which that is
# halved (section 4.1 there, the schedule scaled to the number of queries).
_FIRST_SHARE = 0.8
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


class Square(SearchAttack):
    """Random search on the margin; a sample that is retired is asked about no more.

    Inputs that are no images ``(C, H, W)`` are taken as one line of one channel.

    Args:
        steps: Queries for each sample.
    """

    def __init__(self, *, steps: int = 1000) -> None:
        self.steps = steps

    @property
    def passes(self) -> int:
        """One for each query."""
        return self.steps

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """Propose until all have retired; the watcher sees every proposal.

        The end of a sample is the proposal that retired it, or else the best.
        """
        return self.improve(problem, watcher)

    def improve(
        self, problem: Problem, watcher: Watcher, starts: Tensor | None = None
    ) -> list[Tensor]:
        """As :meth:`search`, from starts ``(n, ...)`` where there are any."""
        shape = _image(problem.inputs)
        windows = self.windows(shape, problem.eps)
        steps = min(self.steps, problem.queries or self.steps)
        first, draws = _draws(problem, steps - 1, windows.numbers)
        rows = torch.arange(len(first), device=first.device)
        best = first.new_full((len(first),), -torch.inf)
        moves, ends = first.new_zeros(len(first), *shape), problem.inputs.clone()
        for step in range(steps):
            tried = (
                windows.changed(moves[rows], draws[rows, step - 1], _share(step / steps))
                if step
                else (windows.first(first) if starts is None else starts - problem.inputs).reshape(
                    -1, *shape
                )
            )
            tried, points = _bounded(problem, rows, tried)
            kept, gains = _asked(problem, watcher, rows, points)
            better = (gains > best[rows]) | ~kept
            taken = rows[better]
            moves[taken], ends[taken] = tried[better], points[better]
            best[taken] = gains[better]
            rows = rows[kept]
            if not len(rows):
                break
        return [ends]

    def windows(self, shape: tuple[int, int, int], eps: float) -> Windows:
        """How the norm's perturbations start and change."""
        raise NotImplementedError


def _bounded(problem: Problem, rows: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
    """Perturbations cut at the bounds, and where they lead.

    They are cut themselves: taken back from where they lead, they would drift by rounding.
    """
    inputs, (low, high) = problem.inputs[rows], problem.box(rows)
    cut = moves.reshape_as(inputs).clamp(low - inputs, high - inputs)
    return cut.reshape_as(moves), (inputs + cut).clamp(low, high)


def _asked(
    problem: Problem, watcher: Watcher, rows: Tensor, points: Tensor
) -> tuple[Tensor, Tensor]:
    """Whom nobody retires at these points, as a mask, and how near they are to success."""
    with torch.no_grad():
        logits = problem.ask(points)
    watcher.saw_answers(rows)
    targets = None if problem.targets is None else problem.targets[rows]
    kept = ~watcher.retired(rows, points, logits)
    return kept, margin(logits, problem.labels[rows], targets).to(points.dtype)


def _image(inputs: Tensor) -> tuple[int, int, int]:
    if inputs.ndim == 4:
        return inputs.shape[1], inputs.shape[2], inputs.shape[3]
    return 1, 1, inputs[0].numel()


def _share(progress: float) -> float:
    halvings = bisect_right(_HALVINGS, progress)
    return float(_FIRST_SHARE * 0.5**halvings)


def _draws(problem: Problem, steps: int, numbers: int) -> tuple[Tensor, Tensor]:
    """Of each sample's own stream: numbers for its start, and for each later query."""
    first, later = [], []
    for sample in problem.samples:
        generator = sample_generator(problem.seed, int(sample))
        first.append(generator.random(problem.inputs[0].numel()))
        later.append(generator.random((steps, numbers), dtype=np.float32))
    start, changes = (torch.from_numpy(np.stack(part)) for part in (first, later))
    return start.to(problem.inputs), changes.to(problem.inputs)


class LinfSquare(Square):
    """Square in the Linf ball."""

    distance = distances.linf

    def windows(self, shape: tuple[int, int, int], eps: float) -> Windows:
        return Stripes(shape, eps)


class L2Square(Square):
    """Square in the L2 ball."""

    distance = distances.l2

    def windows(self, shape: tuple[int, int, int], eps: float) -> Windows:
        return Bumps(shape, eps, order=2)


class L1Square(Square):
    """Square in the L1 ball: the windows of L2, measured in L1.

    Croce & Hein 2021, "Mind the box: l1-APGD for sparse adversarial attacks on image
    classifiers", section 5.
    """

    distance = distances.l1

    def windows(self, shape: tuple[int, int, int], eps: float) -> Windows:
        return Bumps(shape, eps, order=1)
