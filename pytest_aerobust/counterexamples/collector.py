"""Adversarial examples kept while an evaluation runs, for whoever wants to look at them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Counterexample:
    """One verified adversarial example.

    Attributes:
        sample: Place of its original in the data that was handed in.
        adversarial: The input itself, on the CPU; under ``threat="behind-filter"`` what the
            attacker made of the filter's output.
        answer: The class that the arm gives to it.
    """

    sample: int
    adversarial: Tensor
    answer: int


class Counterexamples:
    """Keeps the last verified example of each sample: ``evaluate(..., on_examples=kept)``.

    With a target, that is the one at the target where there is one. It holds the examples of one
    evaluation; `curve` of that evaluation adds none.

    Args:
        only: Keep those of this arm (``unfiltered`` or ``filtered``); None keeps both.
    """

    def __init__(self, only: str | None = None) -> None:
        self._only = only
        self._kept: dict[str, dict[int, Counterexample]] = {}

    def __call__(
        self, arm: str, samples: np.ndarray, examples: Tensor, answers: np.ndarray
    ) -> None:
        """Keep examples ``(n, ...)`` of an arm; their storage is not shared with the engine."""
        if self._only not in (None, arm):
            return
        kept = self._kept.setdefault(arm, {})
        for sample, example, answer in zip(samples, examples, answers, strict=True):
            number = int(sample)
            kept[number] = Counterexample(number, example.detach().cpu().clone(), int(answer))

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms of which there are examples."""
        return tuple(sorted(arm for arm, kept in self._kept.items() if kept))

    def recall(self, arm: str, found: Iterable[Counterexample]) -> None:
        """Keep what an earlier run found."""
        self._kept.setdefault(arm, {}).update({each.sample: each for each in found})

    def of(self, arm: str) -> list[Counterexample]:
        """The examples of an arm (``unfiltered`` or ``filtered``), in the order of the data."""
        kept = self._kept.get(arm, {})
        return [kept[sample] for sample in sorted(kept)]


class OnExamples(Protocol):
    """Is shown every verified example."""

    def __call__(
        self, arm: str, samples: np.ndarray, examples: Tensor, answers: np.ndarray
    ) -> None:
        """See examples ``(n, ...)`` of samples, by their numbers in the data.

        Args:
            arm: ``unfiltered`` or ``filtered``.
            samples: Place of each sample in the data that was handed in, ``(n,)``.
            examples: What the arm errs on; later ones of a sample replace earlier ones.
            answers: The class that the arm gives to each, ``(n,)``.
        """


def unseen(arm: str, samples: np.ndarray, examples: Tensor, answers: np.ndarray) -> None:
    """Nobody wants to see the examples."""
