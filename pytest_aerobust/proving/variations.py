"""The proof of a contract over what varies beside its budget."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from pytest_aerobust.contract.vary import draw_words
from pytest_aerobust.counterexamples.collector import Counterexamples, unseen
from pytest_aerobust.errors import ContractError
from pytest_aerobust.measurement.campaign import Campaign, checked_points, steps_to
from pytest_aerobust.measurement.variations import Variations
from pytest_aerobust.proving.bound_contract import BoundContract
from pytest_aerobust.proving.drawing import Search, find_failure
from pytest_aerobust.proving.outcome import Outcome
from pytest_aerobust.results.curve import Curve
from pytest_aerobust.results.evaluation import Evaluation


class ManyDraws:
    """Measures a contract as it is stated and at draws of Hypothesis.

    Args:
        bound: The contract and its subject.

    Attributes:
        kept: The pipeline's examples at the draw that decides; None where nobody wants them.
    """

    def __init__(self, bound: BoundContract) -> None:
        self._bound = bound
        self._outcome: dict[str, Outcome] = {}
        self._examples: dict[str, Counterexamples | None] = {}
        self.kept: Counterexamples | None = None
        self._variations = Variations(
            bound.subject,
            bound.measurement(cast("float", bound.contract.eps)),
            remembered=bound.remembered,
            on_progress=bound.on_progress,
            device=bound.costs.device,
        )

    def in_full(self, eps: float | None) -> Evaluation:
        """The contract as it is stated, measured in full and once.

        Raises:
            ContractError: A budget that is not the contract's.
        """
        stated = self._bound.contract.eps
        if eps not in (None, stated):
            raise ContractError(f"robustness({eps!r}): this contract's only budget is {stated:g}")
        return self._at({}, full=True).evaluation

    def curve(self, budgets: Sequence[float] | None) -> Curve:
        """Accuracy over budgets of the contract as it is stated, by default ten up to its own."""
        bound, eps = self._bound, cast("float", self._bound.contract.eps)
        campaign = Campaign(
            bound.subject,
            bound.measurement(eps),
            remembered=bound.remembered,
            on_progress=bound.on_progress,
            device=bound.costs.device,
        )
        return campaign.curve(steps_to(eps) if budgets is None else checked_points(budgets))

    def prove(self) -> Outcome:
        """Measure as much as the verdict needs, and judge."""
        full = self._bound.settings.full
        found = find_failure(
            self._bound.contract.vary,
            lambda values: self._at(values, full).verdict.outcome != "failed",
            self._bound.draws,
        )
        decisive = self._weakest(found) if found.failing is None else found.failing
        self.kept = self._examples[repr(decisive)]
        return replace(self._at(decisive, full), search=found, settled=self._words(found, decisive))

    def _weakest(self, found: Search) -> Mapping[str, Any]:
        """What a pass is told by: where evidence is void, or else nearest to a floor."""

        def rank(values: Mapping[str, Any]) -> tuple[bool, Any]:
            verdict = self._outcome[repr(values)].verdict
            return verdict.outcome == "passed", min(check.slack for check in verdict.checks)

        return min(({}, *found.drawn), key=rank)

    def _words(self, found: Search, decisive: Mapping[str, Any]) -> str:
        names = ", ".join(name for name, _ in self._bound.contract.vary)
        if found.failing is None:
            return (
                f"held as stated and at {len(found.drawn)} draws of {names}; told by the weakest: "
                f"{draw_words(decisive)}"
            )
        if not found.failing:
            return f"it fails as it is stated, before Hypothesis varies {names}"
        return (
            f"simplest failing draw: {draw_words(found.failing)} ({len(found.drawn)} draws looked "
            "at; as it is stated the contract holds)"
        )

    def _at(self, values: Mapping[str, Any], full: bool) -> Outcome:
        key = repr(values)
        known = self._outcome.get(key)
        if known is None or (full and not known.evaluation.complete):
            evaluation = self._bound.noted(self._measured(values, full))
            self._outcome[key] = Outcome(evaluation, self._bound.judge(evaluation))
        return self._outcome[key]

    def _measured(self, values: Mapping[str, Any], full: bool) -> Evaluation:
        need = self._bound.need(full)
        seen = self._examples[repr(values)] = self._bound.examples()
        stated = self._bound.measurement(cast("float", self._bound.contract.eps))
        trail = self._bound.new_trail()
        return self._bound.kept(
            [stated, dict(values)],
            need,
            lambda: self._variations.measure(values, need, seen or unseen, trail),
            trail,
            seen,
        )
