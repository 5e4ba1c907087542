"""One run: what the items of a session share, from settings to what is known of a model."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property, partial

import torch

from pytest_aerobust.contract.attack import AttackChoice
from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.history.attack_code import AttackCodes
from pytest_aerobust.history.baseline.comparison import BaselineComparison
from pytest_aerobust.history.baseline.entries import Entry, read_baseline
from pytest_aerobust.history.cache.identity import NotFollowedError
from pytest_aerobust.history.cache.measurements import (
    CacheAccess,
    CachedMeasurements,
    Patience,
    aside,
)
from pytest_aerobust.history.cache.readings import Readings
from pytest_aerobust.history.cache.store import Cache
from pytest_aerobust.history.fingerprints import DataPrints
from pytest_aerobust.history.memory import of_todays
from pytest_aerobust.measurement.binding import Parts, bound_subject
from pytest_aerobust.measurement.carried import RememberedExamples
from pytest_aerobust.measurement.measurement import OnProgress, silent
from pytest_aerobust.options.settings import Settings
from pytest_aerobust.proving.bound_contract import BoundContract
from pytest_aerobust.proving.robustness import Robustness
from pytest_aerobust.subjects.subject import Subject


class Session:
    """What one pytest run keeps between its items.

    Args:
        settings: The options.
        watch: Gives for a test's id what is told how far its measurements have come.
        cache: Keeps measurements for later runs; None keeps none.
    """

    def __init__(
        self,
        settings: Settings,
        watch: Callable[[str], OnProgress] = lambda test: silent,
        cache: Cache | None = None,
    ) -> None:
        self.settings, self._watch, self._cache = settings, watch, cache
        self._readings, self._prints, self._patience = Readings(), DataPrints(), Patience()
        self._codes = AttackCodes(settings.root)
        if settings.workers > 1:
            torch.set_num_threads(max(1, _cores() // settings.workers))

    def read_code(self, attacks: Iterable[AttackChoice]) -> None:
        """Read what attacks are made of, before a run can change it."""
        for attack in attacks:
            with suppress(Exception):  # raised again by the contract whose attack it is
                self._codes.of(attack)

    def guard(
        self, contract: Contract, parts: Parts, test: str, drawn_by: object = None
    ) -> Robustness:
        """A contract bound to its subject.

        Args:
            contract: What the test demands, settled.
            parts: What the fixtures gave.
            test: The test's id, which seeds the draws of varying budgets.
            drawn_by: What `@hypothesis.seed` on the test says.

        Raises:
            SubjectError: What can't be evaluated, with the reason.
        """
        costs = self.settings.costs(contract)
        data = self._readings.of(parts.data)
        subject = bound_subject(contract, parts, data, costs.samples, costs.seed or 0)
        return Robustness(
            BoundContract(
                contract,
                subject,
                self.settings,
                test,
                # Nothing about the model is remembered from other tests: it may be another by now.
                {},
                drawn_by=drawn_by,
                on_progress=self._watch(test),
                past=self._past(contract, subject, test),
                tried=self._tried(contract, subject, test),
                find_measurements=partial(
                    self._measurements, contract.attack, subject, parts, costs.device
                ),
            )
        )

    def _tried(self, contract: Contract, subject: Subject, test: str) -> RememberedExamples | None:
        """Examples of earlier runs, where the contract's attacker could have made them.

        Whoever knows all of the pipeline can make any input in the ball. A gray-box attacker can
        make what he crafts on the model of today alone, and one who asks pays for each answer.
        """
        settings, samples = self.settings, subject.samples
        if settings.memory is None or not contract.single or settings.replay is not None:
            return None
        if contract.threat_under(settings.threat, subject.filter is not None) != "white-box":
            return None
        return of_todays(settings.memory, test, self._prints.of(samples), samples.inputs)

    def _measurements(
        self, attack: AttackChoice, subject: Subject, parts: Parts, device: str | None
    ) -> CacheAccess:
        """Where this subject's measurements are kept; nowhere where it can't be known again."""
        settings = self.settings
        # Adversarial examples are not kept: whoever wants all of them has to measure.
        if self._cache is None or settings.remembers or settings.replay is not None:
            return CacheAccess()
        if self._codes.code(attack):
            reason = NotFollowedError("an attack with code that comes with no version")
            return CacheAccess(note=aside(reason, "contract"))
        data = self._prints.of(subject.samples)
        given = (parts.model, parts.filter, parts.unfiltered_model)
        try:
            return CacheAccess(
                CachedMeasurements(self._cache, subject, data, device, self._patience, given)
            )
        except NotFollowedError as reason:
            return CacheAccess(note=aside(reason))

    def _past(self, contract: Contract, subject: Subject, test: str) -> BaselineComparison | None:
        """The contract's place in the baseline, where it or this run asks for one."""
        settings = self.settings
        if not settings.compares(contract):
            return None
        data, entry = self._prints.of(subject.samples), self._baseline.get(test)
        made_of = self._codes.of(contract.attack)
        return BaselineComparison(
            contract, subject, data, entry, settings.update, settings.strict, made_of
        )

    @cached_property
    def _baseline(self) -> dict[str, Entry]:
        return read_baseline(self.settings.baseline)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
