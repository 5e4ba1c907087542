"""A contract with everything that its proof needs."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from pytest_aerobust.budgets import Epsilons
from pytest_aerobust.checks import OF_ANSWERS
from pytest_aerobust.contract import Contract
from pytest_aerobust.evaluation import Measurement, Need, OnProgress, silent
from pytest_aerobust.evidence.sanity import exempt_notes, vacuous_notes
from pytest_aerobust.examples import Counterexamples
from pytest_aerobust.results import Evaluation
from pytest_aerobust.settings import Costs, Settings
from pytest_aerobust.subjects.subject import Subject
from pytest_aerobust.varying import Draws, forced_seed
from pytest_aerobust.verdict import Verdict, judge
from pytest_aerobust.weighing import Remembered


def needed(verdict: Verdict) -> Need:
    """What a measurement still has to give before this verdict stands."""
    if verdict.outcome == "undecided":
        return Need.ATTACK
    unreliable = any(finding.name in OF_ANSWERS for finding in verdict.void)
    return Need.NOTHING if verdict.outcome == "failed" or unreliable else Need.EVIDENCE


@dataclass(frozen=True)
class Guarded:
    """One contract bound to its subject.

    Attributes:
        contract: What the test demands.
        subject: What is under test.
        settings: The options.
        test: The test's id.
        remembered: What earlier contracts found out about the subject.
        drawn_by: Seed that the user gave to Hypothesis for this test; None where there is none.
        on_progress: Is told how far each measurement has come.
    """

    contract: Contract
    subject: Subject
    settings: Settings
    test: str
    remembered: Remembered
    drawn_by: object = None
    on_progress: OnProgress = silent

    @property
    def costs(self) -> Costs:
        return self.settings.costs(self.contract)

    @property
    def arm(self) -> str:
        """The arm that floors speak of."""
        return "unfiltered" if self.subject.filter is None else "filtered"

    @property
    def draws(self) -> Draws:
        """How Hypothesis draws for this test: alike in every run, unlike for any other test."""
        budgets = self.contract.eps
        drawn_by = forced_seed() if self.drawn_by is None else self.drawn_by
        told = f"{self.costs.seed}/{drawn_by}/{self.test}"
        seed = int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest())
        return Draws(seed, budgets.max_examples if isinstance(budgets, Epsilons) else None)

    def measurement(self, eps: float) -> Measurement:
        """What is measured at a budget, as the contract states it."""
        contract = self.contract
        return Measurement(
            contract.attack,
            eps,
            contract.threat_under(self.settings.threat, self.subject.filter is not None),
            contract.target,
            self.costs.seed or 0,
            contract.waivers,
            contract.strength,
            contract.queries,
            compared=contract.floors.min_gain is not None,
        )

    def judge(self, evaluation: Evaluation) -> Verdict:
        """What an evaluation means for the contract."""
        return judge(self.contract.floors, evaluation)

    def need(self, full: bool) -> Callable[[Evaluation], Need]:
        """What its verdict needs, or all of it."""

        def asked(evaluation: Evaluation) -> Need:
            if full and not evaluation.complete:
                return Need.ATTACK
            return needed(self.judge(evaluation))

        return asked

    def noted(self, evaluation: Evaluation) -> Evaluation:
        """With what a reader should know of the floors."""
        floors = self.contract.floors.at(evaluation.eps)
        notes = (
            *evaluation.notes,
            *vacuous_notes(floors, self.subject.samples.labels),
            *exempt_notes(floors, evaluation.pipeline),
        )
        return replace(evaluation, notes=notes)

    def examples(self) -> Counterexamples | None:
        """Where the pipeline's examples are kept; None where nobody wants them."""
        return Counterexamples(self.arm) if self.settings.keeps_examples else None
