"""Both arms of a measurement: the bare model, and the pipeline where there is a filter."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pytest_aerobust.contract.targets import Mistakes, Table, Target
from pytest_aerobust.counterexamples.collector import OnExamples, unseen
from pytest_aerobust.counterexamples.verification import Ball
from pytest_aerobust.measurement.arm import RunningArm
from pytest_aerobust.measurement.carried import Carried
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.subject import Sides, behind_filter


class Arms:
    """The bare arm, the pipeline's arm, and what their classes are called.

    Args:
        sides: What they judge.
        measurement: Attack, budget and threat.
        bounds: Of the data.
        classes: The model's own names of its classes; None where it has none.
        on_examples: Is shown every verified example.
        carried: What is known from other budgets; it learns what is found here.

    Attributes:
        unfiltered: The bare arm.
        filtered: The pipeline's; None without a filter.
        bounds: Of the data, on their device.
        table: The target of each class, once they are aimed; None where there is none.
    """

    table: Table | None = None

    def __init__(
        self,
        sides: Sides,
        measurement: Measurement,
        bounds: Box,
        classes: tuple[Any, ...] | None,
        on_examples: OnExamples,
        carried: Carried,
    ) -> None:
        self.sides, self._classes, self._carried = sides, classes, carried
        self.bounds = bounds.to(sides.samples.inputs)

        def arm(name: str, side: Classifier, samples: Samples, bounds: Box) -> RunningArm:
            ball = Ball(measurement.attack.norm, measurement.eps, bounds)
            return RunningArm(name, side, samples, ball, on_examples, getattr(carried, name))

        self.unfiltered = arm("unfiltered", sides.unfiltered, sides.samples, self.bounds)
        self.filtered: RunningArm | None = None
        if sides.pipeline is not None and measurement.behind_filter:
            seen, reach = behind_filter(sides.pipeline, sides.samples, self.bounds)
            self.filtered = arm("filtered", sides.known, seen, reach)
        elif sides.pipeline is not None:
            self.filtered = arm("filtered", sides.pipeline, sides.samples, self.bounds)

    def alone(self, measurement: Measurement) -> "Arms":
        """The bare arm under another measurement, of which nobody sees examples."""
        sides = replace(self.sides, pipeline=None)
        return Arms(sides, measurement, self.bounds, self._classes, unseen, Carried())

    def __iter__(self) -> Iterator[RunningArm]:
        yield self.unfiltered
        if self.filtered is not None:
            yield self.filtered

    @property
    def pipeline(self) -> RunningArm:
        """The arm that floors speak of."""
        return self.unfiltered if self.filtered is None else self.filtered

    @property
    def one_model(self) -> bool:
        """Whether the bare arm judges the model that is deployed."""
        return self.sides.known is self.sides.unfiltered

    @property
    def names(self) -> Sequence[Any]:
        """What the classes are called: by the model, or their places."""
        return self._classes or range(min(arm.logits.shape[1] for arm in self))

    @property
    def _numbers(self) -> Sequence[int]:
        """Their numbers, also where written as text; a class called by a word has its place."""
        texts = [str(name) for name in self.names]
        if all(text.isdecimal() for text in texts):
            return [int(text) for text in texts]
        plain = all(isinstance(name, int | float) for name in self.names)
        return self.names if plain else range(len(texts))

    def aim(self, target: Target | None, mistakes: Callable[[], Mistakes]) -> None:
        """Send both arms where the attacker wants them.

        Args:
            target: What he wants; None leaves any wrong answer to him.
            mistakes: Runs the untargeted attack, where targets are derived from it.
        """
        if target is None:
            return
        if self._carried.table is None:
            self._carried.table = target.table(self._numbers, mistakes)
        self.table = self._carried.table
        for arm in self:
            arm.outcomes.aim(self.table)
