"""Measurements kept from one run to the next, and when one of them is believed."""

import platform
from base64 import b64decode, b64encode
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
from safetensors.torch import load, save
from torch import Tensor

import pytest_aerobust
from pytest_aerobust.errors import AerobustError, ModelError
from pytest_aerobust.evaluation import Need
from pytest_aerobust.examples import Counterexample, Counterexamples
from pytest_aerobust.history.cache import Cache
from pytest_aerobust.history.fingerprints import DataPrint, in_order
from pytest_aerobust.history.identity import Identity, NotFollowedError, file_digest
from pytest_aerobust.results import Arm, Evaluation
from pytest_aerobust.saved import Saved
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.state import isolated
from pytest_aerobust.subjects.subject import Subject

_LIBRARIES = (torch, foolbox, eagerpy, np, scipy, hypothesis)
# Samples whose answers and gradients a model is known by, and how near these must come: another
# number of threads rounds otherwise, another model answers otherwise.
_PROBES, _NEAR = 16, 1e-3
# The worst examples of an evaluation, and what of it these depend on.
_WORST = "worst"
_MEASURED = (
    *("attack", "norm", "eps", "threat", "target", "arguments", "seed", "disturbances"),
    *("unfiltered", "filtered"),
)


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
        self._cache, self._data, self._ids = cache, data, subject.samples.ids
        # First, as an answer may import what the model's identity then follows.
        self._answers = _answers(subject, data, device)
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
        examples: Counterexamples | None = None,
    ) -> Evaluation:
        """What is kept of a measurement where it suffices, or else a new one, which is kept.

        Args:
            asked: What is measured, without what is demanded of it.
            need: Asked what a verdict still needs beside what is kept.
            measure: Measures it.
            examples: Where a failure's adversarial examples are wanted; None where nobody asks.
        """
        kept = self.get(asked)
        if kept is not None:
            evaluation, more = kept
            wanted = need(evaluation)
            if wanted is Need.NOTHING:
                settled = self.recall_worst(evaluation, examples)
            else:
                settled = more["weighed"] and wanted is not Need.ATTACK
            if settled:
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

    def keep_worst(self, evaluation: Evaluation, worst: Saved) -> None:
        """Keep an evaluation's worst adversarial examples, for reports of later runs."""
        ranks = {sample: rank for rank, sample in enumerate(self._in_order())}
        value = {
            "ranks": [ranks[sample] for sample in worst.samples.tolist()],
            "answers": worst.answers.tolist(),
            "adversarial": b64encode(save({_WORST: worst.adversarial.cpu()})).decode("ascii"),
        }
        self._cache.put(self._key([_WORST, self._found(evaluation)]), value)

    def recall_worst(self, evaluation: Evaluation, examples: Counterexamples | None) -> bool:
        """Hand out what was kept of an evaluation's worst examples.

        Returns:
            Whether all is there that is wanted.
        """
        if examples is None:
            return True
        kept = self._cache.get(self._key([_WORST, self._found(evaluation)]))
        if kept is None:
            return False
        samples, adversarial = self._in_order(), load(b64decode(kept["adversarial"]))[_WORST]
        rows = zip(kept["ranks"], adversarial, kept["answers"], strict=True)
        arm = "unfiltered" if evaluation.filtered is None else "filtered"
        examples.recall(arm, (Counterexample(samples[rank], *rest) for rank, *rest in rows))
        return True

    def _in_order(self) -> list[int]:
        """The samples' places in the data, in an order that their content alone decides."""
        ids: list[int] = self._ids[list(self._data.order)].tolist()
        return ids

    def _found(self, evaluation: Evaluation) -> dict[str, Any]:
        """What an evaluation's examples depend on, whatever was demanded of it."""
        told = _rearranged(evaluation, self._data.order).to_dict()
        return {name: told[name] for name in _MEASURED}

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
