"""What the fixture `robustness` gives: a contract that is measured on request and checked."""

from dataclasses import replace
from pathlib import Path

from pytest_aerobust.counterexamples.files import Saved, remove, save
from pytest_aerobust.counterexamples.replay import ReplayedContract, judge_again
from pytest_aerobust.counterexamples.worst import worst_cases
from pytest_aerobust.history.fingerprints import by_content
from pytest_aerobust.history.memory import keep
from pytest_aerobust.proving.bound_contract import Guarded
from pytest_aerobust.proving.many_budgets import OverBudgets
from pytest_aerobust.proving.one_budget import AtOneBudget
from pytest_aerobust.proving.outcome import Judged
from pytest_aerobust.proving.variations import OverDraws
from pytest_aerobust.results.evaluation import Evaluation


def _proof(guarded: Guarded) -> AtOneBudget | OverBudgets | OverDraws:
    if guarded.contract.single:
        return AtOneBudget(guarded)
    return OverDraws(guarded) if guarded.contract.vary else OverBudgets(guarded)


class Robustness:
    """Measures its contract on request.

    Args:
        guarded: The contract and its subject.
    """

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded
        self._proof = _proof(guarded)

    def __call__(self, eps: float | None = None) -> Evaluation:
        """The evaluation, measured in full and once; its method ``curve`` measures others.

        Args:
            eps: A budget, where the contract's budgets vary; the largest by default.

        Raises:
            ContractError: It is none of the contract's budgets.
        """
        return self._proof.in_full(eps)

    def check(self) -> Judged:
        """Measure as much as the verdict needs, judge, and store what proves a failure."""
        judged = self._proof.prove()
        self._remember(judged)
        settings = self._guarded.settings
        if not settings.keeps_examples:
            return judged
        worst = self._worst_of(judged)
        if settings.examples is not None:
            judged = self._stored(judged, settings.examples, worst)
        return replace(judged, worst=worst if settings.draws_examples else None)

    def _remember(self, judged: Judged) -> None:
        """Keep what beats the pipeline for later runs, where this one updates what is kept."""
        guarded, folder = self._guarded, self._guarded.settings.memory
        if folder is None or not guarded.settings.remembers or self._proof.kept is None:
            return
        if guarded.contract.single and judged.verdict.outcome != "inconclusive":
            found = {each.sample: each.adversarial for each in self._proof.kept.of(guarded.arm)}
            keep(folder, guarded.test, by_content(guarded.subject.samples, found))

    def replay(self, saved: Saved) -> ReplayedContract:
        """Judge stored examples again, without an attack; the data are theirs.

        Raises:
            SubjectError: Model or filter refuse the inputs.
        """
        return judge_again(self._guarded.subject, saved, self._guarded.costs.device)

    def _stored(self, judged: Judged, folder: Path, worst: Saved | None) -> Judged:
        """With the worst cases on disk; what an earlier run stored for this test is gone.

        A failure stays one where they can't be written, hours after the folder was tried.
        """
        try:
            if worst is not None:
                return replace(judged, examples=save(folder, worst))
            remove(folder, self._guarded.test)
        except OSError as error:
            note = f"counterexamples in {folder} could not be brought up to date: {error}"
            notes = (*judged.evaluation.notes, note)
            return replace(judged, evaluation=replace(judged.evaluation, notes=notes))
        return judged

    def _worst_of(self, judged: Judged) -> Saved | None:
        if judged.verdict.outcome != "failed" or self._proof.kept is None:
            return None
        found = worst_cases(
            self._guarded.subject,
            self._guarded.contract,
            judged.evaluation,
            judged.verdict,
            self._proof.kept,
            test=self._guarded.test,
            device=self._guarded.costs.device,
        )
        shelves = self._guarded.shelves
        if found is not None and shelves is not None and not judged.evaluation.cached:
            shelves.keep_worst(judged.evaluation, found)
        return found
