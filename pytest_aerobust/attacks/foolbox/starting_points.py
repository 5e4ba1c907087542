"""Starting points for attacks that walk along a boundary: some input of another class."""

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.attacks.balls import aligned
from pytest_aerobust.attacks.foolbox.queries import Questions
from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.subjects.randomness import Use, sample_generator

# As many draws as Foolbox's own start takes; that one draws for a whole batch until its last
# sample has a start, and so spends the queries of all others.
_DRAWS = 1000
_HALVINGS = 10


def starting_points(problem: Problem, rows: Tensor, questions: Questions) -> tuple[Tensor, Tensor]:
    """Noise of another class, drawn towards each sample as far as it stays so.

    A sample asks only until it has a start, and draws the same noise in whatever company.

    Args:
        problem: A part of the search.
        rows: Places of its samples in the whole search, for `questions`.
        questions: Answers.

    Returns:
        The starts ``(n, ...)``, and which of them are of another class, as a mask.
    """
    starts, found = _drawn(problem, rows, questions)
    near, far = torch.zeros_like(found, dtype=starts.dtype), found.to(starts.dtype)
    for _ in range(_HALVINGS):
        asked = (found & questions.live(rows)).nonzero().flatten()
        if not len(asked):
            break
        middle = (near + far) / 2
        fooled = _fooled(problem, rows, questions, asked, _between(problem.inputs, starts, middle))
        far[asked] = torch.where(fooled, middle[asked], far[asked])
        near[asked] = torch.where(fooled, near[asked], middle[asked])
    return _between(problem.inputs, starts, far), found


def _drawn(problem: Problem, rows: Tensor, questions: Questions) -> tuple[Tensor, Tensor]:
    """The first noise of another class that each sample draws, and whether it drew any."""
    generators = [
        sample_generator(problem.seed, int(sample), Use.START) for sample in problem.samples
    ]
    starts, found = problem.inputs.clone(), torch.zeros_like(problem.labels, dtype=torch.bool)
    for _ in range(_DRAWS):
        asked = (~found & questions.live(rows)).nonzero().flatten()
        if not len(asked):
            break
        shape = problem.inputs.shape[1:]
        unit = np.stack([generators[place].random(shape) for place in asked.tolist()])
        low, high = problem.box(asked)
        starts[asked] = low + (high - low) * torch.from_numpy(unit).to(starts)
        found[asked] = _fooled(problem, rows, questions, asked, starts)
    return starts, found


def _fooled(
    problem: Problem, rows: Tensor, questions: Questions, asked: Tensor, inputs: Tensor
) -> Tensor:
    """Which of the inputs at `asked` are of another class than their samples."""
    answers = questions.ask(rows[asked], inputs[asked]).argmax(dim=1)
    return answers != problem.labels[asked]


def _between(inputs: Tensor, starts: Tensor, shares: Tensor) -> Tensor:
    return torch.lerp(inputs, starts, aligned(shares, inputs))
