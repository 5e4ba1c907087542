"""The proof of a contract over what varies beside its budget."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from pytest_aerobust.contract.vary import draw_words
from pytest_aerobust.counterexamples.collector import Counterexamples, unseen
from pytest_aerobust.errors import ContractError
from pytest_aerobust.measurement.campaign import Campaign
from pytest_aerobust.measurement.variations import Variations
from pytest_aerobust.proving.bound_contract import Guarded
from pytest_aerobust.proving.drawing import Search, find_failure
from pytest_aerobust.proving.outcome import Judged
from pytest_aerobust.results.evaluation import Evaluation


class OverDraws:
    """Measures a contract as it is stated and at draws of Hypothesis.

    Args:
        guarded: The contract and its subject.

    Attributes:
        kept: The pipeline's examples at the draw that decides; None where nobody wants them.
    """

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded
        self._judged: dict[str, Judged] = {}
        self._examples: dict[str, Counterexamples | None] = {}
        self.kept: Counterexamples | None = None
        self._variations = Variations(
            guarded.subject,
            guarded.measurement(cast("float", guarded.contract.eps)),
            remembered=guarded.remembered,
            on_progress=guarded.on_progress,
            device=guarded.costs.device,
        )

    def in_full(self, eps: float | None) -> Evaluation:
        """The contract as it is stated, measured in full and once.

        Raises:
            ContractError: A budget that is not the contract's.
        """
        stated = self._guarded.contract.eps
        if eps not in (None, stated):
            raise ContractError(f"robustness({eps!r}): this contract's only budget is {stated:g}")
        return self._campaign.followed(self._at({}, full=True).evaluation)

    @property
    def _campaign(self) -> Campaign:
        """Other budgets of the contract as it is stated, for curves."""
        guarded = self._guarded
        return Campaign(
            guarded.subject,
            guarded.measurement(cast("float", guarded.contract.eps)),
            remembered=guarded.remembered,
            on_progress=guarded.on_progress,
            device=guarded.costs.device,
        )

    def prove(self) -> Judged:
        """Measure as much as the verdict needs, and judge."""
        full = self._guarded.settings.full
        found = find_failure(
            self._guarded.contract.vary,
            lambda values: self._at(values, full).verdict.outcome != "failed",
            self._guarded.draws,
        )
        decisive = self._weakest(found) if found.failing is None else found.failing
        self.kept = self._examples[repr(decisive)]
        return replace(self._at(decisive, full), search=found, settled=self._words(found, decisive))

    def _weakest(self, found: Search) -> Mapping[str, Any]:
        """What a pass is told by: where evidence is void, or else nearest to a floor."""

        def rank(values: Mapping[str, Any]) -> tuple[bool, Any]:
            verdict = self._judged[repr(values)].verdict
            return verdict.outcome == "passed", min(check.slack for check in verdict.checks)

        return min(({}, *found.drawn), key=rank)

    def _words(self, found: Search, decisive: Mapping[str, Any]) -> str:
        names = ", ".join(name for name, _ in self._guarded.contract.vary)
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

    def _at(self, values: Mapping[str, Any], full: bool) -> Judged:
        key = repr(values)
        known = self._judged.get(key)
        if known is None or (full and not known.evaluation.complete):
            evaluation = self._guarded.noted(self._measured(values, full))
            self._judged[key] = Judged(evaluation, self._guarded.judge(evaluation))
        return self._judged[key]

    def _measured(self, values: Mapping[str, Any], full: bool) -> Evaluation:
        need = self._guarded.need(full)
        seen = self._examples[repr(values)] = self._guarded.examples()
        stated = self._guarded.measurement(cast("float", self._guarded.contract.eps))
        trail = self._guarded.new_trail()
        return self._guarded.kept(
            [stated, dict(values)],
            need,
            lambda: self._variations.measure(values, need, seen or unseen, trail),
            trail,
            seen,
        )
