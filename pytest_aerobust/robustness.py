"""One contract bound to its subject: measured on request, judged, and its failures stored."""

import hashlib
from dataclasses import replace

from pytest_aerobust.arguments import checked_eps
from pytest_aerobust.arms import unseen
from pytest_aerobust.budgets import Epsilons
from pytest_aerobust.checks import OF_ANSWERS
from pytest_aerobust.contract import Contract
from pytest_aerobust.errors import ContractError
from pytest_aerobust.evaluation import Measurement, Need, measure
from pytest_aerobust.evidence.sanity import exempt_notes, vacuous_notes
from pytest_aerobust.examples import Counterexamples
from pytest_aerobust.judged import Judged
from pytest_aerobust.replaying import ReplayedContract, judge_again
from pytest_aerobust.results import Evaluation
from pytest_aerobust.saved import Saved, remove, save
from pytest_aerobust.settings import Settings
from pytest_aerobust.subjects.subject import Subject
from pytest_aerobust.varying import find_boundary
from pytest_aerobust.verdict import Verdict, judge
from pytest_aerobust.weighing import Remembered
from pytest_aerobust.worst import worst_cases


def needed(verdict: Verdict) -> Need:
    """What a measurement still has to give before this verdict stands."""
    if verdict.outcome == "undecided":
        return Need.ATTACK
    unreliable = any(finding.name in OF_ANSWERS for finding in verdict.void)
    return Need.NOTHING if verdict.outcome == "failed" or unreliable else Need.EVIDENCE


class Robustness:
    """What the fixture `robustness` gives: measures its contract on request.

    Args:
        contract: What the test demands.
        subject: What is under test.
        settings: The options.
        test: The test's id.
        remembered: What earlier contracts found out about the subject.
    """

    def __init__(
        self,
        contract: Contract,
        subject: Subject,
        settings: Settings,
        test: str,
        remembered: Remembered,
    ) -> None:
        self._contract, self._subject, self._settings = contract, subject, settings
        self._remembered = remembered
        self._costs = settings.costs(contract)
        self._test = test
        self._measured: dict[float, Evaluation] = {}
        self._worst: dict[float, Saved | None] = {}

    def __call__(self, eps: float | None = None) -> Evaluation:
        """The evaluation, measured in full and once.

        Args:
            eps: A budget, where the contract's budgets vary; the largest by default.

        Raises:
            ContractError: The contract has one budget, and it is not this.
        """
        budgets = self._contract.eps
        asked = self._contract.largest_eps if eps is None else checked_eps(eps)
        if not isinstance(budgets, Epsilons) and asked != budgets:
            raise ContractError(
                f"robustness({asked:g}): this contract's only budget is {budgets:g}; let it "
                "vary with eps=epsilons(...)"
            )
        if isinstance(budgets, Epsilons) and not budgets.low <= asked <= budgets.high:
            raise ContractError(
                f"robustness({asked:g}): this contract's budgets lie in {budgets}; widen "
                "eps=epsilons(...)"
            )
        return self._evaluation(asked, full=True)

    def check(self) -> Judged:
        """Measure as much as the verdict needs, judge, and store what proves a failure."""
        return self._stored(self._checked())

    def replay(self, saved: Saved) -> ReplayedContract:
        """Judge stored examples again, without an attack; the data are theirs.

        Raises:
            SubjectError: Model or filter refuse the inputs.
        """
        return judge_again(self._subject, saved, self._costs.device)

    def _checked(self) -> Judged:
        budgets = self._contract.eps
        if not isinstance(budgets, Epsilons):
            return self._judged(budgets)
        boundary = find_boundary(budgets, self._withstands, self._draw_seed())
        if boundary.failing is not None:
            return replace(self._judged(boundary.failing), boundary=boundary)
        # A proof beats a doubt: only where nothing fails, void evidence at any budget counts.
        doubtful = [eps for eps in self._measured if not self._passes(eps)]
        return replace(self._judged(max(doubtful, default=budgets.high)), boundary=boundary)

    def _withstands(self, eps: float) -> bool:
        return self._judged(eps).verdict.outcome not in ("failed", "undecided")

    def _passes(self, eps: float) -> bool:
        return self._judged(eps).verdict.outcome == "passed"

    def _judged(self, eps: float) -> Judged:
        evaluation = self._evaluation(eps, full=self._settings.full)
        return Judged(evaluation, judge(self._contract.floors, evaluation))

    def _evaluation(self, eps: float, full: bool) -> Evaluation:
        known = self._measured.get(eps)
        if known is None or (full and not known.complete):
            self._measured[eps] = self._measure(eps, full)
        return self._measured[eps]

    def _measure(self, eps: float, full: bool) -> Evaluation:
        contract, floors = self._contract, self._contract.floors
        measurement = Measurement(
            contract.attack,
            eps,
            contract.threat_under(self._settings.threat, self._subject.filter is not None),
            contract.target,
            self._costs.seed or 0,
            contract.waivers,
            contract.strength,
            contract.queries,
            compared=floors.min_gain is not None,
        )
        kept = Counterexamples("unfiltered" if self._subject.filter is None else "filtered")
        evaluation = measure(
            self._subject,
            measurement,
            need=lambda e: Need.ATTACK if full and not e.complete else needed(judge(floors, e)),
            remembered=self._remembered,
            on_examples=kept if self._settings.examples else unseen,
            device=self._costs.device,
        )
        self._worst[eps] = self._worst_of(evaluation, kept) if self._settings.examples else None
        notes = (
            *evaluation.notes,
            *vacuous_notes(floors, self._subject.samples.labels),
            *exempt_notes(floors, evaluation.pipeline),
        )
        return replace(evaluation, notes=notes)

    def _worst_of(self, evaluation: Evaluation, kept: Counterexamples) -> Saved | None:
        """A few of the examples, so that no measurement keeps all of its own in memory."""
        verdict = judge(self._contract.floors, evaluation)
        if verdict.outcome != "failed":
            return None
        device, test = self._costs.device, self._test
        return worst_cases(
            self._subject, self._contract, evaluation, verdict, kept, test=test, device=device
        )

    def _stored(self, judged: Judged) -> Judged:
        """With the worst cases on disk; what an earlier run stored for this test is gone.

        A failure stays one where they can't be written, hours after the folder was tried.
        """
        folder = self._settings.examples
        if folder is None:
            return judged
        worst = self._worst[judged.evaluation.eps]
        try:
            if worst is not None:
                return replace(judged, examples=save(folder, worst))
            remove(folder, self._test)
        except OSError as error:
            note = f"counterexamples in {folder} could not be brought up to date: {error}"
            notes = (*judged.evaluation.notes, note)
            return replace(judged, evaluation=replace(judged.evaluation, notes=notes))
        return judged

    def _draw_seed(self) -> int:
        told = f"{self._costs.seed}/{self._test}"
        return int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest())
