"""One search among some of the samples, watched by an arm and by whoever wants its trail."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_aerobust.attacks.search import Search
from pytest_aerobust.measurement.arm import RunningArm
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.measurement.retirement import Retirement
from pytest_aerobust.measurement.trail import Trail
from pytest_aerobust.subjects.pipeline import Classifier


@dataclass(frozen=True)
class Searcher:
    """The attack of a measurement, ready to search.

    Attributes:
        search: The attack.
        measurement: What is measured.
        certain: Whether enough is known, so that a search may end in its middle.
        trail: Remembers where the attack went; None where nobody asks.
    """

    search: Search
    measurement: Measurement
    certain: Callable[[], bool]
    trail: Trail | None = None

    def on(self, arm: RunningArm, rows: Tensor) -> Retirement:
        """Search on the arm's own side; who is beaten retires."""
        rows = rows[arm.outcomes.open(rows)]
        watch = Retirement(
            arm,
            rows,
            torch.zeros_like(rows, dtype=torch.bool),
            [arm.tallies.gradients],
            arm.samples.inputs[rows],
            self.certain,
        )
        self._run(arm.side, arm, rows, watch)
        if self.measurement.attack.spec.minimises_by_gradients and watch.beaten.any():
            arm.pull_back(watch.rows[watch.beaten], watch.examples[watch.beaten])
        return watch

    def transfer(
        self, bare: RunningArm | None, side: Classifier, judge: RunningArm, rows: Tensor
    ) -> bool:
        """Craft on a model to the last step; another arm judges that step alone.

        An example that stops where the bare model falls has only just crossed its border and
        hardly transfers, so the bare model's answer ends nothing that the pipeline still needs.

        Args:
            bare: Judges every step on the way; None where nobody does.
            side: The model on which examples are crafted.
            judge: The arm that they are for.
            rows: The samples.

        Returns:
            Whether the search ended in its middle, because the verdict is certain.
        """
        wanted = judge.outcomes.open(rows)
        rows = rows[wanted if bare is None else wanted | bare.outcomes.open(rows)]
        tallies = [arm.tallies.gradients for arm in (bare, judge) if arm is not None]
        inputs = judge.samples.inputs[rows]
        watch = Retirement(bare, rows, judge.outcomes.open(rows), tallies, inputs, self.certain)
        found = self._run(side, judge, rows, watch)
        for ends in [] if watch.ended else found:
            wanted = judge.outcomes.open(rows)
            judge.judge(rows[wanted], ends[wanted])
        return watch.ended

    def _run(
        self, side: Classifier, arm: RunningArm, rows: Tensor, watch: Retirement
    ) -> list[Tensor]:
        if not len(rows):
            return []
        told = self.measurement
        problem = arm.problem(side, rows, told.attack_seed, told.queries)
        if self.trail is not None:
            problem = self.trail.watched(arm.name, problem)
        # What searches samples together, a stock attack, draws from the global generators.
        with nullcontext() if self.search.block > 1 else side.resumed():
            ends = self.search.search(problem, watch)
        if self.trail is not None:
            self.trail.ended(arm.name, ends, watch.beaten)
        return ends
