"""One subject under one attack at several budgets: each measurement starts from all others."""

import math
from collections.abc import Callable, Iterable, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_aerobust.contract.arguments import checked_eps
from pytest_aerobust.contract.attack import NO_ATTACK
from pytest_aerobust.contract.waivers import OF_ANSWERS
from pytest_aerobust.counterexamples.collector import OnExamples, unseen
from pytest_aerobust.errors import ContractError
from pytest_aerobust.evidence.weigh import KnownFindings
from pytest_aerobust.measurement.carried import Carried, CarriedArm, RememberedExamples
from pytest_aerobust.measurement.measure import in_full, measure
from pytest_aerobust.measurement.measurement import Measurement, OnProgress, silent
from pytest_aerobust.measurement.trail import Trail
from pytest_aerobust.results.arm import EXEMPT, FELL, WRONG, Arm
from pytest_aerobust.results.curve import ArmCurve, Curve
from pytest_aerobust.results.evaluation import Evaluation, Queries
from pytest_aerobust.subjects.subject import Subject
from pytest_aerobust.verdict.need import Need

# Steps of a curve whose budgets nobody names.
_STEPS = 10


def checked_points(budgets: Any) -> list[float]:
    """The budgets of a curve, rising.

    Raises:
        ContractError: None, or one that is no number of at least 0.
    """
    if not isinstance(budgets, Iterable) or isinstance(budgets, str):
        raise ContractError(
            f"curve(budgets={budgets!r}): expected a list of budgets, as in [0.1, 0.2]"
        )
    points = sorted(set(map(checked_eps, budgets)))
    if not points:
        raise ContractError("curve(budgets=[]): expected at least one budget")
    return points


def steps_to(largest: float) -> list[float]:
    """Ten equal steps up to a budget."""
    return [largest * (step + 1) / _STEPS for step in range(_STEPS)]


def _complete(evaluation: Evaluation) -> Need:
    """Numbers without a verdict need no guard."""
    return Need.NOTHING if evaluation.complete else Need.ATTACK


class Campaign:
    """Measurements that differ in the budget alone.

    Args:
        subject: What is under test.
        measurement: Attack and threat; its budget is the one that :meth:`measure` is given.
        remembered: Findings about this subject; new ones are added.
        on_examples: Is shown every verified example.
        on_progress: Is told how far each measurement has come.
        device: Where to run; None stays where the model is.
        aimed_at: Budget of the untargeted attack that derived targets come from; None takes the
            first that is measured.
    """

    def __init__(
        self,
        subject: Subject,
        measurement: Measurement,
        *,
        remembered: KnownFindings | None = None,
        on_examples: OnExamples = unseen,
        on_progress: OnProgress = silent,
        device: str | None = None,
        aimed_at: float | None = None,
    ) -> None:
        self._subject, self._measurement = subject, measurement
        self._remembered, self._on_examples, self._device = remembered, on_examples, device
        self._on_progress = on_progress
        self._carried = Carried(aimed_at=aimed_at)
        self._asked: dict[float, Queries] = {}
        self._last: Evaluation | None = None

    def measure(
        self,
        eps: float,
        need: Callable[[Evaluation], Need] = in_full,
        *,
        fresh: bool = False,
        tried: RememberedExamples | None = None,
        trail: Trail | None = None,
    ) -> Evaluation:
        """Attack whoever is undecided at a budget.

        Args:
            eps: The budget.
            need: Asked what is still needed.
            fresh: Attack everybody, also whom other budgets settle.
            tried: Examples of earlier runs that are tried first.
            trail: Remembers where the attack went; None where nobody asks.

        Raises:
            SubjectError, AttackError, ContractError: As :func:`measure`.
        """
        found = measure(
            self._subject,
            replace(self._measurement, eps=eps),
            need=need,
            on_examples=self._on_examples,
            on_progress=self._on_progress,
            remembered=self._remembered,
            carried=self._carried,
            fresh=fresh,
            tried=tried,
            trail=trail,
            device=self._device,
        )
        self._last = self._with_queries(found)
        return self._last

    def _with_queries(self, found: Evaluation) -> Evaluation:
        """Whoever has faced this very budget is not asked again, and what he was asked stays."""
        if found.queries is not None:
            asked = self._asked.get(found.eps, found.queries)
            self._asked[found.eps] = max(asked, found.queries, key=lambda each: each.most)
        return replace(found, queries=self._asked.get(found.eps))

    def curve(self, points: Sequence[float]) -> Curve:
        """Accuracy over budgets from what is known so far, of which nothing comes back.

        Nobody weighs the evidence of its budgets, so no verdict may rest on them; and whoever
        keeps the examples of an evaluation would lose them to those of other budgets.

        Args:
            points: The budgets, rising; at least one.

        Raises:
            ContractError: There is no attack whose budgets could be followed.
        """
        if self._measurement.attack is NO_ATTACK:
            raise ContractError("curve(): there is no attack whose budgets could be followed")
        branch = copy(self)
        branch._on_examples = unseen
        branch._carried, branch._asked = deepcopy(self._carried), dict(self._asked)
        return branch._curve(points)

    def _curve(self, points: Sequence[float]) -> Curve:
        """From the largest budget down: who stands there is not attacked again."""
        first = {eps: self.measure(eps, _complete) for eps in reversed(points)}
        # What larger budgets left open smaller ones may have settled; who was asked stays told.
        found = tuple(_joined(first[eps], self.measure(eps, _complete)) for eps in points)
        arms = {
            name: _arm_curve(name, found, getattr(self._carried, name)) for name in found[-1].arms
        }
        return Curve(found, arms["unfiltered"], arms.get("filtered"))

    def known(self, eps: float) -> Evaluation | None:
        """What is known of a budget without an attack; None before anything was measured."""
        if self._last is None:
            return None
        last, carried = self._last, self._carried
        filtered = last.filtered
        return replace(
            last,
            eps=eps,
            unfiltered=_recalled(last.unfiltered, carried.unfiltered, eps),
            filtered=None if filtered is None else _recalled(filtered, carried.filtered, eps),
            evidence=tuple(found for found in last.evidence if found.name in OF_ANSWERS),
            notes=(),
        )


def _joined(first: Evaluation, again: Evaluation) -> Evaluation:
    """A measurement with the outcomes of the same one once more was known."""
    return replace(first, unfiltered=again.unfiltered, filtered=again.filtered)


def _arm_curve(name: str, found: Sequence[Evaluation], carried: CarriedArm) -> ArmCurve:
    arms = [evaluation.arms[name] for evaluation in found]
    outcomes = arms[-1].outcomes
    known = [math.inf] * len(outcomes) if carried.ledger is None else carried.ledger.nearest
    return ArmCurve(
        eps=tuple(evaluation.eps for evaluation in found),
        accuracy=tuple(arm.accuracy for arm in arms),
        clean_accuracy=arms[-1].clean_accuracy,
        nearest=tuple(
            0.0 if letter == WRONG else eps for letter, eps in zip(outcomes, known, strict=True)
        ),
    )


def _recalled(arm: Arm, carried: CarriedArm, eps: float) -> Arm:
    """An arm at another budget than it was measured at."""
    if carried.ledger is None:
        return arm
    measured = np.frombuffer(arm.outcomes.encode("ascii"), np.uint8)
    known = carried.ledger.outcomes(eps).numpy().astype(np.uint8)
    settled = np.isin(measured, [ord(letter) for letter in (WRONG, EXEMPT, FELL)])
    return Arm(np.where(settled, measured, known).tobytes().decode("ascii"))
