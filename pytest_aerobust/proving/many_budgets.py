"""The proof of a contract over many budgets."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from torch import Tensor

from pytest_aerobust.contract.arguments import checked_eps
from pytest_aerobust.contract.budgets import Drawn, Epsilons
from pytest_aerobust.counterexamples.collector import unseen
from pytest_aerobust.errors import ContractError
from pytest_aerobust.measurement.campaign import Campaign, checked_points, steps_to
from pytest_aerobust.measurement.trail import Trail
from pytest_aerobust.proving.bound_contract import BoundContract
from pytest_aerobust.proving.drawing import Boundary, boundary_words, drawn_budgets, find_boundary
from pytest_aerobust.proving.outcome import Outcome
from pytest_aerobust.results.curve import Curve
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.verdict.need import Need


class ManyBudgets:
    """Measures a contract at its budgets; each measurement starts from what the others found.

    Args:
        bound: The contract and its subject.

    Attributes:
        kept: The pipeline's examples; None where nobody wants them.
    """

    def __init__(self, bound: BoundContract) -> None:
        self._bound, self._contract = bound, bound.contract
        self._full = bound.settings.full
        self._evaluations: dict[float, Evaluation] = {}
        self._broken = False
        self.kept = bound.examples()
        self._attacked_at = 0.0
        self._kept_from: dict[int, float] = {}

    @cached_property
    def _campaign(self) -> Campaign:
        bound = self._bound
        return Campaign(
            bound.subject,
            bound.measurement(0.0),
            remembered=bound.remembered,
            on_examples=unseen if self.kept is None else self._show,
            on_progress=bound.on_progress,
            device=bound.costs.device,
            # Whatever a test's body asks first.
            aimed_at=self._points[-1],
        )

    def in_full(self, eps: float | None) -> Evaluation:
        """The evaluation at a budget, the largest by default, measured in full and once.

        Raises:
            ContractError: It is none of the contract's budgets.
        """
        low, high = self._points[0], self._points[-1]
        asked = high if eps is None else checked_eps(eps)
        if not low <= asked <= high:
            raise ContractError(
                f"robustness({asked:g}): this contract's budgets lie in {low:g}..{high:g}; let it "
                "vary over more with eps=epsilons(...)"
            )
        return self._evaluation(asked, full=True)

    def curve(self, budgets: Sequence[float] | None) -> Curve:
        """Accuracy over budgets, by default over ten steps up to the contract's largest."""
        points = steps_to(self._points[-1]) if budgets is None else checked_points(budgets)
        return self._campaign.curve(points)

    def prove(self) -> Outcome:
        """Measure as much as the verdict needs, and judge."""
        return self._recalled() or self._kept(self._proved())

    def _proved(self) -> Outcome:
        draws = self._bound.draws
        # What a test's body asked about is in question, too.
        points = tuple(sorted({*self._points, *self._evaluations}))
        self._contract.floors.check_curves(points)
        boundary = find_boundary(points, self, nested=self._nested, draws=draws)
        decisive = boundary.failing
        if decisive is None:
            # A proof beats a doubt: only where nothing fails, void evidence at any budget counts.
            doubtful = [eps for eps in self._evaluations if not self._passes(eps)]
            decisive = max(doubtful, default=points[-1])
        said = boundary_words(boundary, points, self._contract.floors)
        return replace(self._outcome(decisive), boundary=boundary, settled=said)

    def _recalled(self) -> Outcome | None:
        """The whole proof as an earlier run left it."""
        cached = self._bound.cached
        if cached is None or self._evaluations:
            return None
        kept = cached.get(
            self._question, lambda evaluation, _: evaluation.complete or not self._full
        )
        if kept is None:
            return None
        evaluation, more = kept
        outcome = Outcome(evaluation, self._bound.judge(evaluation))
        failed = outcome.verdict.outcome == "failed"
        if failed and not cached.recall_worst(evaluation, self.kept):
            return None
        boundary = Boundary(**more["boundary"] | {"drawn": tuple(more["boundary"]["drawn"])})
        return replace(outcome, boundary=boundary, settled=more["settled"])

    def _kept(self, outcome: Outcome) -> Outcome:
        cached, trail = self._bound.cached, self._trail
        if cached is not None and trail is not None and outcome.boundary is not None:
            cached.put(
                self._question,
                outcome.evaluation,
                trail,
                boundary=asdict(outcome.boundary),
                settled=outcome.settled,
            )
        return outcome

    @cached_property
    def _trail(self) -> Trail | None:
        return self._bound.new_trail()

    @property
    def _question(self) -> Any:
        """All that the outcome over several budgets depends on, beside the subject."""
        bound, floors = self._bound, dict(self._contract.floors)
        return [bound.measurement(0.0), self._points, bound.draws, floors, self._full]

    @property
    def _nested(self) -> bool:
        """Whether a failure stays one whatever else is found: a gain may come back."""
        return self._contract.floors.min_gain is None

    @cached_property
    def _points(self) -> tuple[float, ...]:
        """The budgets in question, rising: also those at which a floor changes."""
        budgets, floors = self._contract.eps, self._contract.floors
        if isinstance(budgets, Epsilons):
            edges = (edge for edge in floors.edges if budgets.low < edge < budgets.high)
            return tuple(sorted({*budgets.points(), *edges}))
        points = drawn_budgets(cast("Drawn", budgets).strategy, self._bound.draws)
        floors.check_curves(points)
        return points

    @property
    def measured(self) -> int:
        """How many budgets were attacked with so far."""
        return len(self._evaluations)

    def known(self, eps: float) -> bool | None:
        """Whether the contract holds at a budget; None where only an attack could tell."""
        evaluation = self._campaign.known(eps)
        if evaluation is None:
            return None
        outcome = self._bound.judge(evaluation).outcome
        return None if outcome == "undecided" else outcome != "failed"

    def holds(self, eps: float) -> bool:
        """The same, with an attack where it takes one."""
        if self.known(eps) is None:
            self._evaluation(eps, full=self._full)
        return self.known(eps) is not False

    def fresh(self, eps: float) -> bool:
        """The same after an attack on everybody, whatever is known."""
        self._evaluations[eps] = self._measure(eps, self._full, fresh=True)
        return self.known(eps) is not False

    def _outcome(self, eps: float) -> Outcome:
        evaluation = self._brought_up_to_date(eps)
        return Outcome(evaluation, self._bound.judge(evaluation))

    def _passes(self, eps: float) -> bool:
        return self._outcome(eps).verdict.outcome == "passed"

    def _brought_up_to_date(self, eps: float) -> Evaluation:
        """What was measured at a budget, with what other budgets have shown of it since."""
        evaluation, known = self._evaluation(eps, full=False), self._campaign.known(eps)
        outcomes = {name: arm.outcomes for name, arm in evaluation.arms.items()}
        if known is None or outcomes == {name: arm.outcomes for name, arm in known.arms.items()}:
            return evaluation
        again = self._measure(eps, full=False)
        self._evaluations[eps] = replace(
            again,
            evidence=evaluation.evidence,
            seconds=evaluation.seconds,
        )
        return self._evaluations[eps]

    def _evaluation(self, eps: float, full: bool) -> Evaluation:
        known = self._evaluations.get(eps)
        if known is None or (full and not known.complete):
            self._evaluations[eps] = self._measure(eps, full)
        return self._evaluations[eps]

    def _show(self, arm: str, samples: np.ndarray, examples: Tensor, answers: np.ndarray) -> None:
        """Keep examples, but none in place of one of a smaller budget, which holds here, too."""
        if self.kept is None or arm != self._bound.arm:
            return
        eps = self._attacked_at
        nearer = [eps <= self._kept_from.get(int(sample), eps) for sample in samples]
        self._kept_from.update(dict.fromkeys(samples[nearer].tolist(), eps))
        self.kept(arm, samples[nearer], examples[nearer], answers[nearer])

    def _measure(self, eps: float, full: bool, *, fresh: bool = False) -> Evaluation:
        asked = self._bound.need(full)

        def need(evaluation: Evaluation) -> Need:
            wanted = asked(evaluation)
            # Once a budget fails for good no other one's pass needs a guard.
            settled = self._broken and self._nested
            return Need.NOTHING if wanted is Need.EVIDENCE and settled else wanted

        self._attacked_at = eps
        evaluation = self._campaign.measure(eps, need, fresh=fresh, trail=self._trail)
        self._broken = self._broken or self.known(eps) is False
        return self._bound.noted(evaluation)
