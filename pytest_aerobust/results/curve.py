"""Accuracy over budgets, of both arms."""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from pytest_aerobust.errors import ContractError
from pytest_aerobust.results.evaluation import Evaluation


@dataclass(frozen=True)
class ArmCurve:
    """One arm's robust accuracy over the budgets.

    Attributes:
        eps: The budgets, rising.
        accuracy: Robust accuracy at each, where undecided samples count as beaten; it never
            rises.
        clean_accuracy: The same at budget 0.
        nearest: Of each sample the smallest budget known to beat it: 0 for one that is wrong
            before any attack, infinite for one that withstood them all.
    """

    eps: tuple[float, ...]
    accuracy: tuple[float, ...]
    clean_accuracy: float
    nearest: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """The smallest budget known to beat a share of all samples; infinite where none does.

        Args:
            share: In [0, 1].

        Raises:
            ContractError: It is no such share.
        """
        if not 0 <= share <= 1:
            raise ContractError(f"quantile({share!r}): expected a share of the samples, in [0, 1]")
        return sorted(self.nearest)[max(ceil(share * len(self.nearest)) - 1, 0)]

    @property
    def median(self) -> float:
        """The smallest budget known to beat half of the samples."""
        return self.quantile(0.5)

    @property
    def area(self) -> float:
        """Area under the curve from 0 to the largest budget, as a share of that range: its mean."""
        # Who is wrong without an attack: by itself, or by a disturbance.
        start = sum(eps > 0 for eps in self.nearest) / len(self.nearest)
        eps, accuracy = (0.0, *self.eps), (start, *self.accuracy)
        if not eps[-1]:
            return start
        heights = ((left + right) / 2 for left, right in pairwise(accuracy))
        widths = (right - left for left, right in pairwise(eps))
        return sum(h * w for h, w in zip(heights, widths, strict=True)) / eps[-1]


@dataclass(frozen=True)
class Curve:
    """What :meth:`Evaluation.curve` measures.

    Attributes:
        evaluations: One for each budget, rising; ``figures.accuracy_curves`` draws them.
        unfiltered: The bare model.
        filtered: The pipeline; None where there is no filter.
    """

    evaluations: tuple[Evaluation, ...]
    unfiltered: ArmCurve
    filtered: ArmCurve | None
