"""No attack: inputs stay where disturbances have put them."""

from collections.abc import Mapping

from torch import Tensor

from pytest_aerobust.attacks.search import Problem, Watcher


class Nothing:
    """What a contract runs that speaks of disturbances alone."""

    block = 1
    passes = None
    strength: Mapping[str, str] = {}

    def travel(self, eps: float) -> float | None:
        """There are no steps."""
        return None

    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """Nobody is moved."""
        return [problem.inputs]
