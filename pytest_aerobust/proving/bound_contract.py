"""A contract with everything that its proof needs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.counterexamples.collector import Counterexamples
from pytest_aerobust.evidence.notes import baseline_notes, exempt_notes, vacuous_notes
from pytest_aerobust.evidence.weigh import KnownFindings
from pytest_aerobust.history.baseline.comparison import BaselineComparison
from pytest_aerobust.history.baseline.entries import Entry
from pytest_aerobust.history.cache.measurements import CacheAccess, CachedMeasurements
from pytest_aerobust.measurement.carried import RememberedExamples
from pytest_aerobust.measurement.measurement import Measurement, OnProgress, silent
from pytest_aerobust.measurement.trail import Trail
from pytest_aerobust.options.settings import Costs, Settings
from pytest_aerobust.private import forced_seed
from pytest_aerobust.proving.drawing import Draws
from pytest_aerobust.results.evaluation import Evaluation, Regression
from pytest_aerobust.subjects.randomness import seed_of
from pytest_aerobust.subjects.subject import Subject
from pytest_aerobust.verdict.judge import Check, Verdict, about_samples, judge
from pytest_aerobust.verdict.need import Need, needed
from pytest_aerobust.verdict.population import about_population


@dataclass(frozen=True)
class BoundContract:
    """One contract bound to its subject.

    Attributes:
        contract: What the test demands.
        subject: What is under test.
        settings: The options.
        test: The test's id.
        remembered: What this contract's measurements find out about the subject.
        drawn_by: Seed that the user gave to Hypothesis for this test; None where there is none.
        on_progress: Is told how far each measurement has come.
        past: The contract's place in the baseline; None where nobody asks.
        tried: Adversarial examples of earlier runs that this attacker could have made; None where
            there are none.
        find_measurements: Finds where its measurements are kept from run to run; asked once, when
            something is to be measured.
    """

    contract: Contract
    subject: Subject
    settings: Settings
    test: str
    remembered: KnownFindings
    drawn_by: object = None
    on_progress: OnProgress = silent
    past: BaselineComparison | None = None
    tried: RememberedExamples | None = None
    find_measurements: Callable[[], CacheAccess] = CacheAccess

    @cached_property
    def _cache(self) -> CacheAccess:
        return self.find_measurements()

    @property
    def cached(self) -> CachedMeasurements | None:
        """Where its measurements are kept; None where none are."""
        return self._cache.measurements

    @property
    def costs(self) -> Costs:
        return self.settings.costs(self.contract)

    @property
    def full(self) -> bool:
        """Whether every sample is attacked, also where the verdict is certain before."""
        return self.settings.full or self.past is not None

    @property
    def arm(self) -> str:
        """The arm that floors speak of."""
        return "unfiltered" if self.subject.filter is None else "filtered"

    @property
    def draws(self) -> Draws:
        """How Hypothesis draws for this test: alike in every run, unlike for any other test."""
        drawn_by = forced_seed() if self.drawn_by is None else self.drawn_by
        return Draws(seed_of(self.costs.seed, drawn_by, self.test), self.costs.draws)

    def measurement(self, eps: float) -> Measurement:
        """What is measured at a budget, as the contract states it."""
        contract = self.contract
        return Measurement.of(
            contract,
            eps,
            contract.threat_under(self.settings.threat, self.subject.filter is not None),
            self.costs.seed or 0,
            compared=contract.floors.min_gain is not None,
        )

    def judge(self, evaluation: Evaluation) -> Verdict:
        """What an evaluation means for the contract."""
        return judge(self.contract.floors, evaluation, self._check)

    @cached_property
    def _check(self) -> Check:
        confidence, floors = self.contract.confidence, self.contract.floors
        if confidence is None:
            return about_samples
        stated = len([*floors])
        firsts = self.subject.firsts.tolist()
        return about_population(confidence, stated, firsts, sequential=self.contract.sequential)

    def need(self, full: bool) -> Callable[[Evaluation], Need]:
        """What its verdict needs, or all of it."""

        def asked(evaluation: Evaluation) -> Need:
            if full and not evaluation.complete:
                return Need.ATTACK
            return needed(self.judge(evaluation), self.contract.sequential)

        return asked

    def kept(
        self,
        asked: Any,
        need: Callable[[Evaluation], Need],
        measure: Callable[[], Evaluation],
        trail: Trail | None,
        examples: Counterexamples | None,
    ) -> Evaluation:
        """A measurement, new or kept from an earlier run."""
        if self.cached is None or trail is None:
            return measure()
        question = [asked, self.contract.sequential]
        return self.cached.measured(question, need, measure, trail, examples=examples)

    def new_trail(self) -> Trail | None:
        """Where an attack went, for later runs to ask there; None where nothing is kept."""
        if self.cached is None:
            return None
        gains = self.contract.floors.min_gain is not None and self.subject.filter is not None
        return Trail(self.costs.seed or 0, compared=gains)

    def noted(self, evaluation: Evaluation) -> Evaluation:
        """With what a reader should know of the floors."""
        floors = self.contract.floors.at(evaluation.eps)
        notes = (
            *evaluation.notes,
            *vacuous_notes(floors, self.subject.samples.labels),
            *exempt_notes(floors, evaluation.pipeline),
            *baseline_notes(floors, evaluation.regression),
            *(() if self.cached is None else self.cached.notes),
            *filter(None, [self._cache.note]),
        )
        return replace(evaluation, notes=notes)

    def regression(self, evaluation: Evaluation) -> Regression | None:
        """An evaluation without memory against the baseline, where the contract asks for it."""
        wanted = self.contract.floors.max_regression is not None and evaluation.complete
        return self.past.compared(evaluation) if self.past is not None and wanted else None

    def entry(self, evaluation: Evaluation, verdict: Verdict) -> Entry | None:
        """For the baseline; what proves nothing is no yardstick either."""
        if self.past is None or self.past.update is None or not evaluation.complete:
            return None
        return None if verdict.outcome == "inconclusive" else self.past.measured(evaluation)

    def examples(self) -> Counterexamples | None:
        """Where the pipeline's examples are kept; None where nobody wants them."""
        wanted = self.settings.keeps_examples or self.settings.remembers
        return Counterexamples(self.arm) if wanted else None
