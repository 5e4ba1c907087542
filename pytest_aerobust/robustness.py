"""One contract bound to its subject: measured on request, judged, and its failures stored."""

import hashlib
from dataclasses import replace
from functools import cached_property

from pytest_aerobust.arguments import checked_eps
from pytest_aerobust.arms import unseen
from pytest_aerobust.budgets import Drawn, Epsilons
from pytest_aerobust.campaign import Campaign
from pytest_aerobust.checks import OF_ANSWERS
from pytest_aerobust.contract import Contract
from pytest_aerobust.errors import ContractError
from pytest_aerobust.evaluation import Measurement, Need
from pytest_aerobust.evidence.sanity import exempt_notes, vacuous_notes
from pytest_aerobust.examples import Counterexamples
from pytest_aerobust.judged import Judged
from pytest_aerobust.replaying import ReplayedContract, judge_again
from pytest_aerobust.results import Evaluation
from pytest_aerobust.saved import Saved, remove, save
from pytest_aerobust.settings import Settings
from pytest_aerobust.subjects.subject import Subject
from pytest_aerobust.varying import Draws, boundary_words, drawn_budgets, find_boundary, forced_seed
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
        drawn_by: Seed that the user gave to Hypothesis for this test; None where there is none.
    """

    def __init__(
        self,
        contract: Contract,
        subject: Subject,
        settings: Settings,
        test: str,
        remembered: Remembered,
        drawn_by: object = None,
    ) -> None:
        self._contract, self._subject, self._settings = contract, subject, settings
        self._costs = settings.costs(contract)
        self._test, self._drawn_by = test, drawn_by
        self._evaluations: dict[float, Evaluation] = {}
        self._broken = False
        self._kept = Counterexamples("unfiltered" if subject.filter is None else "filtered")
        self._campaign = Campaign(
            subject,
            self._measurement(),
            remembered=remembered,
            on_examples=self._kept if settings.examples else unseen,
            device=self._costs.device,
        )

    def _measurement(self) -> Measurement:
        contract = self._contract
        return Measurement(
            contract.attack,
            0.0,
            contract.threat_under(self._settings.threat, self._subject.filter is not None),
            contract.target,
            self._costs.seed or 0,
            contract.waivers,
            contract.strength,
            contract.queries,
            compared=contract.floors.min_gain is not None,
        )

    def __call__(self, eps: float | None = None) -> Evaluation:
        """The evaluation, measured in full and once.

        Args:
            eps: A budget, where the contract's budgets vary; the largest by default.

        Raises:
            ContractError: The contract has one budget, and it is not this.
        """
        low, high = self._points[0], self._points[-1]
        asked = high if eps is None else checked_eps(eps)
        if not low <= asked <= high:
            lie = f"only budget is {high:g}" if low == high else f"budgets lie in {low:g}..{high:g}"
            raise ContractError(
                f"robustness({asked:g}): this contract's {lie}; let it vary over more with "
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

    @cached_property
    def _points(self) -> tuple[float, ...]:
        """The budgets in question, rising: also those at which a floor changes."""
        budgets, floors = self._contract.eps, self._contract.floors
        if isinstance(budgets, Epsilons):
            edges = (edge for edge in floors.edges if budgets.low < edge < budgets.high)
            return tuple(sorted({*budgets.points(), *edges}))
        if isinstance(budgets, Drawn):
            points = drawn_budgets(budgets.strategy, self._draws)
            floors.check_curves(points)
            return points
        return (budgets,)

    @property
    def _draws(self) -> Draws:
        budgets = self._contract.eps
        drawn_by = forced_seed() if self._drawn_by is None else self._drawn_by
        told = f"{self._costs.seed}/{drawn_by}/{self._test}"
        seed = int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest())
        return Draws(seed, budgets.max_examples if isinstance(budgets, Epsilons) else None)

    def _checked(self) -> Judged:
        if isinstance(self._contract.eps, float):
            self._evaluation(self._contract.eps, full=self._settings.full)
            return self._judged(self._contract.eps)
        nested = self._contract.floors.min_gain is None
        boundary = find_boundary(self._points, self, nested=nested, draws=self._draws)
        decisive = boundary.failing
        if decisive is None:
            # A proof beats a doubt: only where nothing fails, void evidence at any budget counts.
            doubtful = [eps for eps in self._evaluations if self._verdict(eps) != "passed"]
            decisive = max(doubtful, default=self._points[-1])
        said = boundary_words(boundary, self._points, self._contract.floors)
        return replace(self._judged(decisive), boundary=boundary, settled=said)

    @property
    def measured(self) -> int:
        """How many budgets were attacked with so far."""
        return len(self._evaluations)

    def known(self, eps: float) -> bool | None:
        """Whether the contract holds at a budget; None where only an attack could tell."""
        evaluation = self._campaign.known(eps)
        if evaluation is None:
            return None
        outcome = judge(self._contract.floors, evaluation).outcome
        return None if outcome == "undecided" else outcome != "failed"

    def holds(self, eps: float) -> bool:
        """The same, with an attack where it takes one."""
        if self.known(eps) is None:
            self._evaluation(eps, full=self._settings.full)
        return self.known(eps) is not False

    def fresh(self, eps: float) -> bool:
        """The same after an attack on everybody, whatever is known."""
        self._evaluations[eps] = self._measure(eps, self._settings.full, fresh=True)
        return self.known(eps) is not False

    def _judged(self, eps: float) -> Judged:
        evaluation = self._brought_up_to_date(eps)
        return Judged(evaluation, judge(self._contract.floors, evaluation))

    def _verdict(self, eps: float) -> str:
        return self._judged(eps).verdict.outcome

    def _brought_up_to_date(self, eps: float) -> Evaluation:
        """What was measured at a budget, with what other budgets have shown of it since."""
        evaluation, known = self._evaluation(eps, full=False), self._campaign.known(eps)
        outcomes = {name: arm.outcomes for name, arm in evaluation.arms.items()}
        if known is None or outcomes == {name: arm.outcomes for name, arm in known.arms.items()}:
            return evaluation
        again = self._measure(eps, full=False)
        self._evaluations[eps] = replace(again, evidence=evaluation.evidence)
        return self._evaluations[eps]

    def _evaluation(self, eps: float, full: bool) -> Evaluation:
        known = self._evaluations.get(eps)
        if known is None or (full and not known.complete):
            self._evaluations[eps] = self._measure(eps, full)
        return self._evaluations[eps]

    def _measure(self, eps: float, full: bool, *, fresh: bool = False) -> Evaluation:
        floors = self._contract.floors

        def need(evaluation: Evaluation) -> Need:
            if full and not evaluation.complete:
                return Need.ATTACK
            wanted = needed(judge(floors, evaluation))
            # Once a budget fails no other one's pass needs a guard.
            return Need.NOTHING if wanted is Need.EVIDENCE and self._broken else wanted

        evaluation = self._campaign.measure(eps, need, fresh=fresh)
        self._broken = self._broken or self.known(eps) is False
        notes = (
            *evaluation.notes,
            *vacuous_notes(floors.at(eps), self._subject.samples.labels),
            *exempt_notes(floors.at(eps), evaluation.pipeline),
        )
        return replace(evaluation, notes=notes)

    def _stored(self, judged: Judged) -> Judged:
        """With the worst cases on disk; what an earlier run stored for this test is gone.

        A failure stays one where they can't be written, hours after the folder was tried.
        """
        folder = self._settings.examples
        if folder is None:
            return judged
        worst = self._worst_of(judged)
        try:
            if worst is not None:
                return replace(judged, examples=save(folder, worst))
            remove(folder, self._test)
        except OSError as error:
            note = f"counterexamples in {folder} could not be brought up to date: {error}"
            notes = (*judged.evaluation.notes, note)
            return replace(judged, evaluation=replace(judged.evaluation, notes=notes))
        return judged

    def _worst_of(self, judged: Judged) -> Saved | None:
        if judged.verdict.outcome != "failed":
            return None
        return worst_cases(
            self._subject,
            self._contract,
            judged.evaluation,
            judged.verdict,
            self._kept,
            test=self._test,
            device=self._costs.device,
        )
