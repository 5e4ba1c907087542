"""The proof of a contract that asks one question: one budget, and nothing that varies."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import cast

from pytest_aerobust.contract.arguments import checked_eps
from pytest_aerobust.counterexamples.collector import unseen
from pytest_aerobust.errors import ContractError
from pytest_aerobust.measurement.campaign import Campaign, checked_points, steps_to
from pytest_aerobust.measurement.trail import Trail
from pytest_aerobust.proving.bound_contract import BoundContract
from pytest_aerobust.proving.outcome import Outcome
from pytest_aerobust.results.curve import Curve
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.verdict.need import Need


class OneBudget:
    """Measures a contract once, or takes what an earlier run measured.

    Args:
        bound: The contract and its subject.

    Attributes:
        kept: The pipeline's examples; None where nobody wants them.
    """

    def __init__(self, bound: BoundContract) -> None:
        self._bound, self._eps = bound, cast("float", bound.contract.eps)
        self._measured: Evaluation | None = None
        self._without_memory: Evaluation | None = None
        self.kept = bound.examples()
        self._campaign = Campaign(
            bound.subject,
            bound.measurement(self._eps),
            remembered=bound.remembered,
            on_examples=self.kept or unseen,
            on_progress=bound.on_progress,
            device=bound.costs.device,
        )

    def in_full(self, eps: float | None) -> Evaluation:
        """The evaluation, measured in full and once.

        Raises:
            ContractError: A budget that is not the contract's.
        """
        if eps is not None and checked_eps(eps) != self._eps:
            raise ContractError(
                f"robustness({eps:g}): this contract's only budget is {self._eps:g}; let it vary "
                "over more with eps=epsilons(...)"
            )
        return self._evaluation(full=True)

    def curve(self, budgets: Sequence[float] | None) -> Curve:
        """Accuracy over budgets, by default over ten steps up to the contract's."""
        points = steps_to(self._eps) if budgets is None else checked_points(budgets)
        return self._campaign.curve(points)

    def prove(self) -> Outcome:
        """Measure as much as the verdict needs, and judge."""
        evaluation = self._evaluation(self._bound.full)
        verdict = self._bound.judge(evaluation)
        entry = None
        if self._without_memory is not None:
            entry = self._bound.entry(self._without_memory, verdict)
        return Outcome(evaluation, verdict, entry=entry)

    @cached_property
    def _trail(self) -> Trail | None:
        return self._bound.new_trail()

    def _evaluation(self, full: bool) -> Evaluation:
        if self._measured is None or (full and not self._measured.complete):
            measure = self._first if self._bound.past is None else self._apart
            self._measured = self._bound.noted(measure(full))
        return self._measured

    def _first(self, full: bool) -> Evaluation:
        """What earlier runs found is tried first: whoever falls to it is not attacked."""
        need, tried = self._bound.need(full), self._bound.tried
        return self._bound.kept(
            [self._bound.measurement(self._eps), tried and tried.digest],
            need,
            lambda: self._campaign.measure(self._eps, need, tried=tried, trail=self._trail),
            self._trail,
            self.kept,
        )

    def _apart(self, full: bool) -> Evaluation:
        """All are attacked, as the baseline's counts know no memory; what falls to it comes after.

        An unchanged model therefore never regresses because its attacks remember more.
        """
        need, tried = self._bound.need(full), self._bound.tried
        stated = self._bound.measurement(self._eps)
        own = self._bound.kept(
            [stated, None],
            need,
            lambda: self._campaign.measure(self._eps, need, trail=self._trail),
            self._trail,
            self.kept if tried is None else None,
        )
        self._without_memory = own
        if tried is None or not own.complete:
            return replace(own, regression=self._bound.regression(own))

        def again() -> Evaluation:
            if own.cached:  # then this process's ledger is still empty
                self._campaign.measure(self._eps, need, trail=self._trail)
            found = self._campaign.measure(
                self._eps, lambda _: Need.NOTHING, tried=tried, trail=self._trail
            )
            return replace(found, evidence=own.evidence, queries=own.queries)

        both = self._bound.kept(
            [stated, "apart", tried.digest], need, again, self._trail, self.kept
        )
        return replace(both, regression=self._bound.regression(own))
