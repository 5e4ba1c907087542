"""What the fixture `robustness` gives: a contract that is measured on request and checked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pytest_aerobust.counterexamples.files import Saved, remove, save
from pytest_aerobust.counterexamples.replay import ReplayedContract, judge_again
from pytest_aerobust.counterexamples.worst import worst_cases
from pytest_aerobust.history.fingerprints import by_content
from pytest_aerobust.history.memory import keep
from pytest_aerobust.proving.bound_contract import BoundContract
from pytest_aerobust.proving.many_budgets import ManyBudgets
from pytest_aerobust.proving.one_budget import OneBudget
from pytest_aerobust.proving.outcome import Outcome
from pytest_aerobust.proving.variations import ManyDraws
from pytest_aerobust.results.curve import Curve
from pytest_aerobust.results.evaluation import Evaluation


def _proof(bound: BoundContract) -> OneBudget | ManyBudgets | ManyDraws:
    if bound.contract.single:
        return OneBudget(bound)
    return ManyDraws(bound) if bound.contract.vary else ManyBudgets(bound)


class Robustness:
    """Measures its contract on request.

    Args:
        bound: The contract and its subject.
    """

    def __init__(self, bound: BoundContract) -> None:
        self._bound = bound
        self._proof = _proof(bound)

    def __call__(self, eps: float | None = None) -> Evaluation:
        """The evaluation, measured in full and once.

        Args:
            eps: A budget, where the contract's budgets vary; the largest by default.

        Raises:
            ContractError: It is none of the contract's budgets.
        """
        return self._proof.in_full(eps)

    def curve(self, budgets: Sequence[float] | None = None) -> Curve:
        """Accuracy over budgets, attacked in full wherever what is known does not settle it.

        Args:
            budgets: Numbers of at least 0 in the units of the data; by default ten equal steps up
                to the contract's own, or its largest.

        Raises:
            ContractError: A budget that is none, or no attack whose budgets could be followed.
        """
        return self._proof.curve(budgets)

    def check(self) -> Outcome:
        """Measure as much as the verdict needs, judge, and store what proves a failure."""
        outcome = self._proof.prove()
        self._remember(outcome)
        settings = self._bound.settings
        if not settings.keeps_examples:
            return outcome
        worst = self._worst_of(outcome)
        if settings.examples is not None:
            outcome = self._stored(outcome, settings.examples, worst)
        return replace(outcome, worst=worst if settings.draws_examples else None)

    def _remember(self, outcome: Outcome) -> None:
        """Keep what beats the pipeline for later runs, where this one updates what is kept."""
        bound, folder = self._bound, self._bound.settings.memory
        if folder is None or not bound.settings.remembers or self._proof.kept is None:
            return
        if bound.contract.single and outcome.verdict.outcome != "inconclusive":
            found = {each.sample: each.adversarial for each in self._proof.kept.of(bound.arm)}
            keep(folder, bound.test, by_content(bound.subject.samples, found))

    def replay(self, saved: Saved) -> ReplayedContract:
        """Judge stored examples again, without an attack; the data are theirs.

        Raises:
            SubjectError: Model or filter refuse the inputs.
        """
        return judge_again(self._bound.subject, saved, self._bound.costs.device)

    def _stored(self, outcome: Outcome, folder: Path, worst: Saved | None) -> Outcome:
        """With the worst cases on disk; what an earlier run stored for this test is gone.

        A failure stays one where they can't be written, hours after the folder was tried.
        """
        try:
            if worst is not None:
                return replace(outcome, examples=save(folder, worst))
            remove(folder, self._bound.test)
        except OSError as error:
            note = f"counterexamples in {folder} could not be brought up to date: {error}"
            notes = (*outcome.evaluation.notes, note)
            return replace(outcome, evaluation=replace(outcome.evaluation, notes=notes))
        return outcome

    def _worst_of(self, outcome: Outcome) -> Saved | None:
        if outcome.verdict.outcome != "failed" or self._proof.kept is None:
            return None
        found = worst_cases(
            self._bound.subject,
            self._bound.contract,
            outcome.evaluation,
            outcome.verdict,
            self._proof.kept,
            test=self._bound.test,
            device=self._bound.costs.device,
        )
        cached = self._bound.cached
        if found is not None and cached is not None and not outcome.evaluation.cached:
            cached.keep_worst(outcome.evaluation, found)
        return found
