"""Measurements kept from one run to the next, and when one of them is believed."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import eagerpy
import foolbox
import hypothesis
import numpy as np
import scipy
import torch
from torch import Tensor

import pytest_aerobust
from pytest_aerobust.errors import AerobustError, ModelError
from pytest_aerobust.evaluation import Need
from pytest_aerobust.history.cache import Cache
from pytest_aerobust.history.fingerprints import DataPrint, in_order
from pytest_aerobust.history.identity import Identity, NotFollowedError, file_digest
from pytest_aerobust.results import Arm, Evaluation
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.state import isolated
from pytest_aerobust.subjects.subject import Subject

_LIBRARIES = (torch, foolbox, eagerpy, np, scipy, hypothesis)
# Samples whose answers and gradients a model is known by, and how near these must come: another
# number of threads rounds otherwise, another model answers otherwise.
_PROBES, _NEAR = 16, 1e-3


class Shelves:
    """Where the measurements of one subject are kept.

    Args:
        cache: Where everything is kept.
        subject: What is measured.
        data: What its samples are known by.
        device: Where it runs; None stays where the model is.

    Raises:
        NotFollowedError: The subject holds something that can't be followed.
    """

    def __init__(self, cache: Cache, subject: Subject, data: DataPrint, device: str | None) -> None:
        self._cache, self._data = cache, data
        identity = Identity()
        identity.add(
            [
                _surroundings(),
                *(subject.model, subject.filter, subject.unfiltered_model, subject.front),
                *(subject.classes, subject.filter_gradient, subject.draws),
                *(subject.bounds.arguments, device, self._data.digest),
            ]
        )
        self._subject = identity.digest
        self._answers = _answers(subject, self._data, device)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the cache."""
        return (self._cache.trouble,) if self._cache.trouble else ()

    def measured(
        self,
        asked: Any,
        need: Callable[[Evaluation], Need],
        measure: Callable[[], Evaluation],
        *,
        examples: bool = False,
    ) -> Evaluation:
        """What is kept of a measurement where it suffices, or else a new one, which is kept.

        Args:
            asked: What is measured, without what is demanded of it.
            need: Asked what a verdict still needs beside what is kept.
            measure: Measures it.
            examples: Whether a failure needs its adversarial examples, which are not kept.
        """
        kept = self.get(asked)
        if kept is not None:
            evaluation, more = kept
            wanted = need(evaluation)
            settled = not examples if wanted is Need.NOTHING else more["weighed"]
            if settled and wanted is not Need.ATTACK:
                return evaluation
        found = measure()
        self.put(asked, found, weighed=need(found) is not Need.NOTHING)
        return found

    def get(self, asked: Any) -> tuple[Evaluation, dict[str, Any]] | None:
        """What is kept under a question, and what else was put there; None where nothing is."""
        kept = self._cache.get(self._key(asked))
        if kept is None or not self._same_answers(kept["answers"]):
            return None
        # The samples as they come today; their order is no part of what they are known by.
        places = np.argsort(self._data.order)
        evaluation = _rearranged(Evaluation.from_dict(kept["evaluation"]), places)
        return replace(evaluation, cached=True), kept["more"]

    def put(self, asked: Any, evaluation: Evaluation, **more: Any) -> None:
        """Keep an evaluation under a question, with other plain values beside it."""
        told = _rearranged(evaluation, self._data.order).to_dict()
        value = {"answers": self._answers, "evaluation": told, "more": more}
        self._cache.put(self._key(asked), value)

    def _key(self, asked: Any) -> str:
        identity = Identity()
        identity.add([self._subject, asked])
        return identity.digest

    def _same_answers(self, kept: list[list[float]]) -> bool:
        return len(kept) == len(self._answers) and all(
            len(one) == len(other) and np.allclose(one, other, rtol=_NEAR, atol=_NEAR)
            for one, other in zip(kept, self._answers, strict=True)
        )


def _rearranged(evaluation: Evaluation, places: Sequence[int] | np.ndarray) -> Evaluation:
    def arm(each: Arm) -> Arm:
        return replace(each, outcomes=in_order(each.outcomes, places).tobytes().decode("ascii"))

    filtered = evaluation.filtered
    return replace(
        evaluation,
        unfiltered=arm(evaluation.unfiltered),
        filtered=None if filtered is None else arm(filtered),
    )


def _surroundings() -> tuple[str, ...]:
    """What a number depends on beside model and data: this package's own code, too."""
    precision = torch.get_float32_matmul_precision(), str(torch.get_default_dtype())
    return (*_installed(), *precision)


@cache
def _installed() -> tuple[str, ...]:
    own = sorted(Path(pytest_aerobust.__file__).parent.rglob("*.py"))
    return (
        platform.python_version(),
        platform.machine(),
        *(f"{library.__name__} {library.__version__}" for library in _LIBRARIES),
        *(file_digest(path) for path in own),
    )


def _answers(subject: Subject, data: DataPrint, device: str | None) -> list[list[float]]:
    """Logits and gradients of each side at a few samples, the same ones in whatever order."""
    try:
        with isolated(0), subject.borrowed(device) as sides:
            some = sides.samples.inputs[list(data.order[:_PROBES])]
            told = (sides.unfiltered, sides.known, sides.pipeline)
            return [_answer(side, some) for side in dict.fromkeys(told) if side is not None]
    except AerobustError as error:  # the measurement will say so, in its own words
        raise NotFollowedError("a model or filter that can't be asked") from error


def _answer(side: Classifier, inputs: Tensor) -> list[float]:
    asked = inputs.clone().requires_grad_()
    _, drawn = side.clean(asked)
    answers = side.settle(drawn).mean(dim=0)
    generator = torch.Generator().manual_seed(0)
    mixed = answers @ torch.randn(answers.shape[1], generator=generator).to(answers)
    try:
        gradients = side.gradient(mixed.sum(), asked).flatten(1)
        slopes = gradients @ torch.randn(gradients.shape[1], generator=generator).to(gradients)
    except ModelError:
        slopes = torch.zeros_like(mixed)  # it has none, today as before
    found: list[float] = torch.cat([answers.flatten(), slopes]).detach().cpu().double().tolist()
    return found
