"""What an attack without gradients asks: counted, limited, and each answer made use of."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pytest_aerobust.attacks.search import Problem, Watcher
from pytest_aerobust.contract.catalogue import ORDERS, Norm

# The most answers for one sample where the contract states none. The dearest defaults of Foolbox
# take some 50,000, so whatever comes here goes on without end.
CEILING = 1_000_000
# Nobody learns from the same question asked so often: a loop waits for another answer to it.
_REPEATS = 5_000


class SearchEnded(Exception):  # noqa: N818  # no error: it carries the end through Foolbox's loops
    """Nobody is left to ask for: each sample has retired, or has had all its answers."""


class SearchEndless(Exception):  # noqa: N818
    """The attack goes on without end."""


class Questions:
    """One search's questions to the attacked side.

    Every answer is looked at, whatever the attack makes of it: an input that fools the side
    inside the ball is shown to the watcher at once, and of all others the closest is kept. Of a
    sample that has retired, or has had all its answers, nothing more is asked: the attack is
    told that it has won.

    Args:
        problem: The search; its `queries` are the most answers for one sample.
        watcher: Is shown what fools the side, and counts the answers.
        norm: Norm of the ball.

    Attributes:
        closest: The closest input that fooled the side, the original where none did ``(n, ...)``.
    """

    def __init__(self, problem: Problem, watcher: Watcher, norm: Norm) -> None:
        self._problem, self._watcher, self._norm = problem, watcher, norm
        self._asked = torch.zeros_like(problem.labels)
        self._open = torch.ones_like(problem.labels, dtype=torch.bool)
        self.closest = problem.inputs.clone()
        self._distances = problem.inputs.new_full((len(problem.inputs),), torch.inf)
        self._last, self._repeated = problem.inputs[:0], 0

    def live(self, rows: Tensor) -> Tensor:
        """For which of `rows` another answer is worth asking and may be asked, as a mask."""
        return self._open[rows] & (self._asked[rows] < (self._problem.queries or CEILING))

    def open(self, rows: Tensor) -> Tensor:
        """Which of `rows` have not retired, as a mask."""
        return self._open[rows]

    def ask(self, rows: Tensor, inputs: Tensor) -> Tensor:
        """Logits ``(n, K)`` of one input ``(n, ...)`` for each of `rows`.

        Raises:
            SearchEnded: None of the rows is live.
            SearchEndless: The attack asks what it has asked before, or far too often.
        """
        live = self.live(rows).nonzero().flatten()
        self._check_end(rows, live)
        low, high = self._problem.box(rows[live])
        asked, wanted = inputs[live].clamp(low, high), rows[live]
        self._check_progress(asked)
        logits = self._problem.ask(asked)
        self._asked[wanted] += 1
        self._watcher.saw_answers(wanted)
        self._look_at(wanted, asked, logits)
        if len(live) == len(rows):
            return logits
        return self._won(rows, logits.shape[1]).to(logits).index_copy(0, live, logits)

    def _check_end(self, rows: Tensor, live: Tensor) -> None:
        if len(live):
            return
        if self._problem.queries is None and self._open[rows].any():
            raise SearchEndless(f"it asked {CEILING:,} times for one sample")
        raise SearchEnded

    def _check_progress(self, inputs: Tensor) -> None:
        same = torch.equal(self._last, inputs)
        self._last, self._repeated = inputs, self._repeated + 1 if same else 0
        if self._repeated >= _REPEATS:
            raise SearchEndless(f"it asked the same question {_REPEATS:,} times in a row")

    def _look_at(self, rows: Tensor, inputs: Tensor, logits: Tensor) -> None:
        """Keep what fools the side; show it to the watcher where it lies inside the ball."""
        labels, eps = self._problem.labels[rows], self._problem.eps
        fooled = logits.gather(1, labels[:, None]).squeeze(1) < logits.amax(dim=1)
        if not fooled.any():
            return
        distances = self._distance(rows, inputs)
        closer = fooled & (distances < self._distances[rows])
        self._distances[rows[closer]] = distances[closer]
        self.closest[rows[closer]] = inputs[closer]
        # A little more than the ball: the watcher's verification has the last word.
        if (fooled & (distances <= eps * (1 + 1e-6))).any():
            self._open[rows] = ~self._watcher.retired(rows, inputs, logits)

    def _distance(self, rows: Tensor, inputs: Tensor) -> Tensor:
        moved = (inputs - self._problem.inputs[rows]).flatten(1)
        distances: Tensor = torch.linalg.vector_norm(moved, ord=ORDERS[self._norm], dim=1)
        return distances

    def _won(self, rows: Tensor, classes: int) -> Tensor:
        """Logits ``(n, K)`` that tell the attack that it has won."""
        problem = self._problem
        others = (problem.labels + 1) % classes
        return one_hot((others if problem.targets is None else problem.targets)[rows], classes)
