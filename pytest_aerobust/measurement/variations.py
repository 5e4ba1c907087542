"""One subject under one contract with other steps, targets, seeds or inputs than it states."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pytest_aerobust.contract.arguments import checked_count
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.disturbances import checked_disturbances
from pytest_aerobust.contract.targets import checked_target
from pytest_aerobust.contract.vary import OF_THE_ATTACK
from pytest_aerobust.counterexamples.collector import OnExamples, unseen
from pytest_aerobust.errors import ContractError
from pytest_aerobust.evidence.weigh import KnownFindings
from pytest_aerobust.measurement.carried import Carried, CarriedArm
from pytest_aerobust.measurement.measure import measure
from pytest_aerobust.measurement.measurement import Measurement, OnProgress, silent
from pytest_aerobust.measurement.trail import Trail
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.subjects.subject import Subject
from pytest_aerobust.verdict.need import Need


class Variations:
    """Measurements of one subject that differ in what a contract varies beside the budget.

    Nothing but the clean pass is carried: other steps, seeds or inputs are other attacks. Where
    answers are random, not even that: another seed draws others.

    Args:
        subject: What is under test.
        measurement: As the contract states it.
        remembered: Findings about this subject; new ones are added.
        on_progress: Is told how far each measurement has come.
        device: Where to run; None stays where the model is.
    """

    def __init__(
        self,
        subject: Subject,
        measurement: Measurement,
        *,
        remembered: KnownFindings,
        on_progress: OnProgress = silent,
        device: str | None = None,
    ) -> None:
        self._subject, self._measurement = subject, measurement
        self._remembered, self._on_progress, self._device = remembered, on_progress, device
        self._clean = Carried()

    def measure(
        self,
        values: Mapping[str, Any],
        need: Callable[[Evaluation], Need],
        on_examples: OnExamples = unseen,
        trail: Trail | None = None,
    ) -> Evaluation:
        """Measure with some values in place of those that are stated.

        Args:
            values: By name; empty for the contract as it is stated.
            need: Asked what is still needed.
            on_examples: Is shown every verified example.
            trail: Remembers where the attack went; None where nobody asks.

        Raises:
            ContractError: Values that can't be meant.
            SubjectError, AttackError: As :func:`measure`.
        """
        carried = Carried(
            CarriedArm(self._clean.unfiltered.clean), CarriedArm(self._clean.filtered.clean)
        )
        try:
            found = measure(
                self._subject,
                _with(self._measurement, values),
                need=need,
                on_examples=on_examples,
                on_progress=self._on_progress,
                remembered=self._remembered,
                carried=carried,
                trail=trail,
                device=self._device,
            )
        except ContractError as error:
            if not values:
                raise
            raise ContractError(f"vary= drew what can't be meant, {values}: {error}") from None
        if self._subject.draws == 1:
            self._clean = carried
        return found


def _with(measurement: Measurement, values: Mapping[str, Any]) -> Measurement:
    others = {name: value for name, value in values.items() if name not in OF_THE_ATTACK}
    attack = measurement.attack
    if "steps" in values:
        steps = values["steps"]
        if steps is None:
            raise ContractError("steps=None: expected a whole number of at least 1")
        attack = chosen(attack.spec.name, attack.norm, None, {**attack.arguments, "steps": steps})
    target, seed = values.get("target"), checked_count("seed", values.get("seed"), least=0)
    return replace(
        measurement,
        attack=attack,
        target=measurement.target if target is None else checked_target(target),
        seed=measurement.seed if seed is None else seed,
        disturbances=checked_disturbances(others),
    )
