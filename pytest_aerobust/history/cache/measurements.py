"""Measurements kept from one run to the next, and when one of them is believed."""

import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple
from weakref import ref

import numpy as np
import torch
from safetensors.torch import load, save

from pytest_aerobust.counterexamples.collector import Counterexample, Counterexamples
from pytest_aerobust.counterexamples.files import Saved
from pytest_aerobust.errors import AerobustError
from pytest_aerobust.history.cache.identity import (
    Identity,
    NotFollowedError,
    TooLongError,
)
from pytest_aerobust.history.cache.probes import Probes
from pytest_aerobust.history.cache.store import Cache
from pytest_aerobust.history.cache.surroundings import surroundings
from pytest_aerobust.history.fingerprints import DataPrint, in_order
from pytest_aerobust.measurement.trail import Trail
from pytest_aerobust.results.arm import Arm
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.subjects.randomness import isolated
from pytest_aerobust.subjects.subject import Subject
from pytest_aerobust.verdict.need import Need

_LOG = logging.getLogger("pytest_aerobust")
# Seconds of a session for following code.
_SECONDS, _SECONDS_EACH = 2.0, 0.05
# How often it spends them in vain.
_TIMES_IN_VAIN = 5
# Samples that a model is asked about before it is followed.
_ASKED = 16
# The worst examples of an evaluation, and what of it these depend on.
_WORST = "worst"
_MEASURED = (
    *("attack", "norm", "eps", "threat", "target", "arguments", "seed", "disturbances"),
    *("unfiltered", "filtered"),
)


class Patience:
    """How long a session follows code: two seconds, or a twentieth of one for each digest.

    What takes longer is tried once, and its time is taken from nobody else; what is tried after
    five times two seconds in vain has a twentieth of one.
    """

    def __init__(self) -> None:
        self._spent, self._times, self._in_vain = 0.0, 0, 0.0
        # By the ids of what was given, which are theirs only while these live.
        self._too_large: dict[tuple[int, ...], list[ref[Any]]] = {}

    def digest(self, given: Sequence[Any], held: list[Any]) -> str:
        """What some objects are known by.

        Args:
            given: Those that are not tried again where this takes too long.
            held: The objects.

        Raises:
            NotFollowedError: They hold something that can't be followed.
            TooLongError: That takes longer than it may, now or before.
        """
        given = [each for each in given if each is not None]
        if self._gave_up(given):
            raise TooLongError("code that was given up before")
        identity = Identity(self._seconds())
        try:
            identity.add(held)
        except TooLongError:
            self._in_vain += identity.spent
            self._give_up(given)
            raise
        except NotFollowedError:
            self._count(identity)
            raise
        self._count(identity)
        return identity.digest

    def _seconds(self) -> float:
        left = max(_SECONDS, _SECONDS_EACH * self._times) - self._spent
        most = _SECONDS if self._in_vain < _TIMES_IN_VAIN * _SECONDS else 0.0
        return max(_SECONDS_EACH, min(left, most))

    def _count(self, identity: Identity) -> None:
        self._spent, self._times = self._spent + identity.spent, self._times + 1

    def _give_up(self, given: list[Any]) -> None:
        with suppress(TypeError):  # an object that allows no reference is tried again
            self._too_large[tuple(map(id, given))] = [ref(each) for each in given]

    def _gave_up(self, given: list[Any]) -> bool:
        known = self._too_large.get(tuple(map(id, given)), [])
        return bool(known) and all(a() is b for a, b in zip(known, given, strict=True))


def aside(reason: NotFollowedError, holder: str = "subject") -> str:
    """What a reader should know of why the cache stands aside; every reason is logged."""
    _LOG.info("measured without the cache, because the %s holds %s", holder, reason)
    if not isinstance(reason, TooLongError):
        return ""
    return (
        f"measured without the cache: the code that model, filter or attack name could not be "
        f"followed in the {_SECONDS:g} s that a session has for it. Libraries are not followed "
        "where their folder is called site-packages; --aerobust-no-cache ends the attempt"
    )


class CacheAccess(NamedTuple):
    """Where a contract's measurements are kept.

    Attributes:
        measurements: None where they are not.
        note: Why not, where a reader should know.
    """

    measurements: "CachedMeasurements | None" = None
    note: str = ""


class CachedMeasurements:
    """Where the measurements of one subject are kept.

    Args:
        cache: Where everything is kept.
        subject: What is measured.
        data: What its samples are known by.
        device: Where it runs; None stays where the model is.
        patience: How long its code may be followed.
        given: What fixtures gave as its model and filter.

    Raises:
        NotFollowedError: The subject holds something that can't be followed.
        TooLongError: Its code can't be followed in the time there is.
    """

    def __init__(
        self,
        cache: Cache,
        subject: Subject,
        data: DataPrint,
        device: str | None,
        patience: Patience,
        given: Sequence[Any],
    ) -> None:
        self._cache, self._data, self._ids = cache, data, subject.samples.ids
        self._asked, self._device = subject, device
        # First, as an answer may import what the model's identity then follows.
        _ask(subject, device)
        self._patience, self._aside = patience, ""
        self._subject = patience.digest(
            given,
            [
                surroundings(),
                *(subject.model, subject.filter, subject.unfiltered_model, subject.front),
                *(subject.classes, subject.filter_gradient, subject.draws),
                *(subject.bounds.arguments, device, self._data.digest),
            ],
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the cache."""
        return tuple(filter(None, (self._cache.trouble, self._aside)))

    def measured(
        self,
        asked: Any,
        need: Callable[[Evaluation], Need],
        measure: Callable[[], Evaluation],
        trail: Trail,
        *,
        examples: Counterexamples | None = None,
    ) -> Evaluation:
        """What is kept of a measurement where it suffices, or else a new one, which is kept.

        Args:
            asked: What is measured, without what is demanded of it.
            need: Asked what a verdict still needs beside what is kept.
            measure: Measures it.
            trail: Where its attack goes, once it measures.
            examples: Where a failure's adversarial examples are wanted; None where nobody asks.
        """

        def suffices(evaluation: Evaluation, more: Mapping[str, Any]) -> bool:
            wanted = need(evaluation)
            return wanted is Need.NOTHING or (more["weighed"] and wanted is not Need.ATTACK)

        kept = self.get(asked, suffices)
        if kept is not None and (
            need(kept[0]) is not Need.NOTHING or self.recall_worst(kept[0], examples)
        ):
            return kept[0]
        found = measure()
        self.put(asked, found, trail, weighed=need(found) is not Need.NOTHING)
        return found

    def get(
        self, asked: Any, suffices: Callable[[Evaluation, Mapping[str, Any]], bool]
    ) -> tuple[Evaluation, Mapping[str, Any]] | None:
        """What is kept under a question, and what else was put there.

        Args:
            asked: The question.
            suffices: Whether that is enough to answer it; only then the model is asked.

        Returns:
            None where nothing is kept, or too little, or where the model of today answers
            otherwise than the one that was measured.
        """
        kept = self._get(asked)
        if kept is None:
            return None
        # The samples as they come today; their order is no part of what they are known by.
        places = np.argsort(self._data.order)
        evaluation = _rearranged(Evaluation.from_dict(kept["evaluation"]), places)
        if not suffices(evaluation, kept["more"]):
            return None
        probes = Probes.from_dict(kept["probes"])
        if not probes.hold(self._asked, self._data.order, self._device):
            _LOG.info("measured again: the model answers otherwise than it did")
            return None
        return replace(evaluation, cached=True), kept["more"]

    def put(self, asked: Any, evaluation: Evaluation, trail: Trail, **more: Any) -> None:
        """Keep an evaluation under a question, with other plain values beside it.

        Args:
            asked: The question.
            evaluation: Its answer.
            trail: Where the attack went: what can't be asked there again is not kept.
            more: The other values.
        """
        probes = Probes.of(self._asked, self._data.order, trail, self._device)
        if probes is None:
            _LOG.info("not kept: the model does not answer the same question alike")
            return
        told = _rearranged(evaluation, self._data.order).to_dict()
        value = {"evaluation": told, "more": more, "probes": probes.to_dict()}
        self._put(asked, value)

    def keep_worst(self, evaluation: Evaluation, worst: Saved) -> None:
        """Keep an evaluation's worst adversarial examples, for reports of later runs."""
        ranks = {sample: rank for rank, sample in enumerate(self._in_order())}
        value = {
            "ranks": [ranks[sample] for sample in worst.samples.tolist()],
            "answers": worst.answers.tolist(),
            "adversarial": b64encode(save({_WORST: worst.adversarial.cpu()})).decode("ascii"),
        }
        self._put([_WORST, self._found(evaluation)], value)

    def recall_worst(self, evaluation: Evaluation, examples: Counterexamples | None) -> bool:
        """Hand out what was kept of an evaluation's worst examples.

        Returns:
            Whether all is there that is wanted.
        """
        if examples is None:
            return True
        kept = self._get([_WORST, self._found(evaluation)])
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

    def _get(self, asked: Any) -> Any | None:
        key = self._key(asked)
        return None if key is None else self._cache.get(key)

    def _put(self, asked: Any, value: Mapping[str, Any]) -> None:
        key = self._key(asked)
        if key is not None:
            self._cache.put(key, value)

    def _key(self, asked: Any) -> str | None:
        """What a question is known by; None where it is not, as for some attacks of the user's."""
        try:
            # A question that takes too long puts its own test aside, and no other of its model.
            return self._patience.digest([self], [self._subject, asked])
        except NotFollowedError as reason:
            self._aside = aside(reason)
            return None


def _rearranged(evaluation: Evaluation, places: Sequence[int] | np.ndarray) -> Evaluation:
    moved = np.argsort(places)

    def arm(each: Arm) -> Arm:
        return replace(
            each,
            outcomes=in_order(each.outcomes, places).tobytes().decode("ascii"),
            unsure=tuple(sorted(int(moved[place]) for place in each.unsure)),
        )

    filtered = evaluation.filtered
    return replace(
        evaluation,
        unfiltered=arm(evaluation.unfiltered),
        filtered=None if filtered is None else arm(filtered),
    )


def _ask(subject: Subject, device: str | None) -> None:
    try:
        with isolated(0), subject.borrowed(device) as sides, torch.no_grad():
            told = (sides.unfiltered, sides.known, sides.pipeline)
            for side in dict.fromkeys(told):
                if side is not None:
                    side.clean(sides.samples.inputs[:_ASKED])
    except AerobustError as error:  # the measurement will say so, in its own words
        raise NotFollowedError("a model or filter that can't be asked") from error
