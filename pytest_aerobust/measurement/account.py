"""From a measurement that runs to the evaluation that it is so far."""

import time
from dataclasses import dataclass, field, replace

from pytest_aerobust.attacks.search import Search
from pytest_aerobust.evidence.notes import count_note, setting_notes, undecided_notes
from pytest_aerobust.evidence.sanity import clean_evidence, target_evidence
from pytest_aerobust.measurement.arm import RunningArm
from pytest_aerobust.measurement.arms import Arms
from pytest_aerobust.measurement.carried import Carried
from pytest_aerobust.measurement.measurement import Measurement
from pytest_aerobust.measurement.threats import Attacker
from pytest_aerobust.results.arm import Arm
from pytest_aerobust.results.evaluation import Evaluation, Evidence, Memory, Queries


@dataclass
class Account:
    """What is known of a measurement.

    Attributes:
        measurement: What is measured.
        arms: Both arms.
        search: The attack.
        attacker: Who uses it.
        carried: What is known from other budgets.
        started: When it began, on the clock of :func:`time.perf_counter`.
        findings: What checks of their own said; the run adds to it.
        memory: What examples of earlier runs did; None where there were none.
    """

    measurement: Measurement
    arms: Arms
    search: Search
    attacker: Attacker
    carried: Carried
    started: float
    findings: list[Evidence] = field(default_factory=list)
    memory: Memory | None = None

    @property
    def seconds(self) -> float:
        """Wall-clock time so far."""
        return time.perf_counter() - self.started

    def evaluation(self) -> Evaluation:
        """What is known now, with notes and confusion matrices."""
        filtered = self.arms.filtered
        return replace(
            self.known(),
            notes=self._notes(),
            unfiltered=_with_matrices(self.arms.unfiltered),
            filtered=None if filtered is None else _with_matrices(filtered),
        )

    def known(self) -> Evaluation:
        """What is known now, as cheaply as a verdict needs it."""
        measurement, arms = self.measurement, self.arms
        return Evaluation(
            **measurement.conditions(self.search.strength).stated,
            unfiltered=arms.unfiltered.outcomes.arm(),
            filtered=None if arms.filtered is None else arms.filtered.outcomes.arm(),
            evidence=self._evidence(),
            targets=arms.table,
            classes=tuple(map(str, arms.names)),
            queries=self._queries(),
            disturbances=measurement.disturbances,
            memory=self.memory,
            seconds=self.seconds,
        )

    def _evidence(self) -> tuple[Evidence, ...]:
        waived = dict(self.measurement.waivers)
        spec = self.measurement.attack.spec
        # A search that only asks may find no slope to climb and still have searched: a forest
        # answers in steps. Where features are frozen it may also have searched the wrong ones.
        asks = spec.access != "gradient" and self.arms.bounds.mutable is None
        told = [finding for arm in self.arms for finding in arm_evidence(arm, spec.name)]
        found = [finding for finding in told if not (asks and finding.name == "loss")]
        off = [
            Evidence(check, arm.name, "waived", reason)
            for arm in self.arms
            for check, reason in waived.items()
        ]
        return (
            *self.findings,
            *(finding for finding in found if finding.name not in waived),
            *off,
        )

    def _queries(self) -> Queries | None:
        """What the pipeline was asked; under other threats the attacker asks a copy of his own."""
        measurement = self.measurement
        if measurement.threat != "black-box" or not measurement.eps:
            return None
        return self.arms.pipeline.queries(measurement.queries)

    def _notes(self) -> tuple[str, ...]:
        arms, pipeline, samples = self.arms, self.arms.pipeline, self.arms.sides.samples
        return (
            *samples.notes,
            *arms.sides.notes,
            *dict.fromkeys(note for arm in arms for note in arm.side.notes),
            *self._setting_notes(),
            *([] if arms.filtered is None else pipeline.clean_pass.filter_notes(arms.bounds)),
            *self.attacker.notes,
            *_target_notes(pipeline),
            *_carried_notes(pipeline),
            *(note for arm in arms for note in _undecided_notes(arm)),
            *(note for arm in arms for note in _draw_notes(arm)),
            *self.carried.doubts,
            *count_note(len(samples)),
        )

    def _setting_notes(self) -> tuple[str, ...]:
        """A budget of 0 is worth a word where nothing else happens."""
        eps = self.measurement.eps
        if self.measurement.disturbances and not eps:
            return ()
        return setting_notes(
            self.measurement.attack.spec.name,
            self.arms.pipeline.ball,
            self.arms.sides.samples.inputs[0],
            self.search.travel(eps) if eps else None,
        )


def _with_matrices(arm: RunningArm) -> Arm:
    clean, attacked = arm.outcomes.confusions
    return replace(arm.outcomes.arm(), clean_confusion=clean, confusion=attacked)


def arm_evidence(arm: RunningArm, attack: str) -> list[Evidence]:
    """What speaks against a pass of an arm."""
    outcomes, tallies, labels = arm.outcomes, arm.tallies, arm.clean.labels
    # Of an attacker with targets the margin of the label says little.
    untargeted = outcomes.targets is None
    return [
        *clean_evidence(outcomes.right, labels, arm.name),
        *target_evidence(outcomes.right, labels, outcomes.targets, arm.name),
        *tallies.gradients.evidence(attack, arm.name),
        *tallies.candidates.evidence(attack, arm.name),
        *tallies.ties.evidence(outcomes.undecided, arm.name),
        *(tallies.margins.evidence(outcomes.survivors, attack, arm.name) if untargeted else []),
    ]


def _undecided_notes(arm: RunningArm) -> tuple[str, ...]:
    """Which samples widen the intervals, because a tie or rounding decides them."""
    places = arm.samples.ids[arm.outcomes.undecided.cpu()].tolist()
    return undecided_notes(arm.name, sorted(places), len(arm.samples))


def _target_notes(arm: RunningArm) -> tuple[str, ...]:
    """How many samples nobody attacks, because their class is sent nowhere."""
    targets = arm.outcomes.targets
    alone = 0 if targets is None else int((targets < 0).sum())
    if not alone:
        return ()
    return (
        f"{alone} of {len(arm.samples)} samples are not attacked, because target= names no "
        "class for theirs: they count as survivors where they are right",
    )


def _carried_notes(arm: RunningArm) -> tuple[str, ...]:
    """How many samples were not attacked here, because other budgets settle them."""
    notes = []
    if count := arm.outcomes.withstood_before:
        notes.append(
            f"{count} of {len(arm.samples)} samples count as withstood, because they "
            f"withstood a larger budget than {arm.ball.eps:.4g}"
        )
    if count := arm.outcomes.beaten_before:
        notes.append(
            f"{count} of {len(arm.samples)} samples count as beaten by examples inside this "
            "ball that were found at other budgets"
        )
    return tuple(notes)


def _draw_notes(arm: RunningArm) -> tuple[str, ...]:
    """What single draws say, where the mean of several is judged."""
    return arm.tallies.draws.notes(arm.name) if arm.side.draws > 1 else ()
