"""A search of ours behind Foolbox's face."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import eagerpy as ep
import numpy as np
import torch
from foolbox.attacks.base import (
    FixedEpsilonAttack,
    get_criterion,
    raise_if_kwargs,
    verify_input_bounds,
)
from foolbox.criteria import Misclassification, TargetedMisclassification
from torch import Tensor

from pytest_aerobust.attacks.search import Problem, Search, Watcher, public_settings
from pytest_aerobust.subjects.box import Box


class SearchAttack(FixedEpsilonAttack):
    """A Foolbox attack of a fixed budget that is run as a :class:`Search`."""

    block = 1

    @property
    def strength(self) -> Mapping[str, str]:
        """What the constructor was told and what it took by default."""
        return public_settings(self)

    def travel(self, eps: float) -> float | None:
        """NotFollowedError: the size of a step is found while it runs."""
        return None

    @property
    @abstractmethod
    def passes(self) -> int:
        """What a sample that never retires costs in forward passes, one backward being two."""

    @abstractmethod
    def search(self, problem: Problem, watcher: Watcher) -> list[Tensor]:
        """Where the search ended; the last of the tensors counts."""

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        """Foolbox's face: a sample retires when the model's answer meets the criterion."""
        raise_if_kwargs(kwargs)
        return searched(self, model, inputs, criterion, epsilon)


def searched(search: Search, model: Any, inputs: Any, criterion: Any, epsilon: float) -> Any:
    """What a :class:`Search` ends with, in the type of the inputs.

    Random starts are keyed by the place of a sample in the batch.
    """
    originals, restore_type = ep.astensor_(inputs)
    verify_input_bounds(originals, model)
    problem = _problem(model, originals.raw, get_criterion(criterion), epsilon)
    ends = search.search(problem, _CriterionWatcher(get_criterion(criterion), len(originals)))
    return restore_type(ep.astensor(ends[-1]))


class _CriterionWatcher:
    """Retires what meets a Foolbox criterion."""

    def __init__(self, criterion: Any, samples: int) -> None:
        self._goal, self._samples = criterion, samples

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        # A criterion speaks of the whole batch: the others are filled in and read off again.
        if logits is None:
            raise TypeError("a criterion needs logits")
        everyone = logits.new_zeros(self._samples, logits.shape[1]).index_copy(0, rows, logits)
        met: Tensor = self._goal(ep.astensor(everyone), ep.astensor(everyone)).raw
        return met[rows]

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        """Foolbox has no place for evidence."""

    def saw_answers(self, rows: Tensor) -> None:
        """Nor for counts."""


def _problem(model: Any, inputs: Tensor, criterion: Any, epsilon: float) -> Problem:
    if isinstance(criterion, Misclassification):
        labels, targets = criterion.labels.raw, None
    elif isinstance(criterion, TargetedMisclassification):
        labels = targets = criterion.target_classes.raw
    else:
        raise ValueError(f"unsupported criterion {criterion!r}")
    return Problem(
        ask=model,
        gradient=lambda loss, x: torch.autograd.grad(loss, x)[0],
        inputs=inputs,
        labels=labels,
        targets=targets,
        eps=epsilon,
        bounds=Box.of(tuple(model.bounds)),
        places=np.arange(len(inputs)),
        samples=np.arange(len(inputs)),
        # As Foolbox's own attacks, from torch's global generator.
        seed=int(torch.randint(2**31, ())),
    )
