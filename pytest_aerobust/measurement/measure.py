"""One measurement: both arms over chunks of samples, until enough is known.

Clean answers of all samples come first. Then each chunk is attacked on both arms: only
survivors are attacked, every claimed example is verified, and after each chunk whoever asked
may say that the verdict is certain.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pytest_aerobust.attacks.build import build_attack
from pytest_aerobust.attacks.search import loss_gradients
from pytest_aerobust.contract.attack import AttackChoice
from pytest_aerobust.contract.catalogue import FILTER_THREATS, Threat
from pytest_aerobust.contract.disturbances import Disturbances
from pytest_aerobust.contract.targets import Mistakes, Table, Target
from pytest_aerobust.contract.waivers import Strength, Waivers
from pytest_aerobust.counterexamples.collector import OnExamples, unseen
from pytest_aerobust.counterexamples.verification import Ball
from pytest_aerobust.errors import ContractError
from pytest_aerobust.evidence.answers import CHECKS, COUNT, Asked, state
from pytest_aerobust.evidence.notes import count_note, setting_notes
from pytest_aerobust.evidence.weigh import Inquiry, Remembered, weigh
from pytest_aerobust.measurement.arm import CarriedArm, Retirement, RunningArm
from pytest_aerobust.measurement.trail import Role, Trail
from pytest_aerobust.results.evaluation import Evaluation, Evidence, Memory, Queries
from pytest_aerobust.subjects.borrowing import digest
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.disturbing import disturbed
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.randomness import isolated, seed_of
from pytest_aerobust.subjects.subject import Sides, Subject, behind_filter
from pytest_aerobust.verdict.need import Need

# Samples attacked at a time: few at first, since a broken floor shows soon, then as many as keep
# a step's overhead small while its activations still fit the cache.
FIRST_CHUNK, LARGEST_CHUNK = 128, 256


@dataclass(frozen=True)
class Progress:
    """How far a measurement has come.

    Attributes:
        label: Attack and norm for people, such as ``BIM Linf``.
        eps: Budget, in the units of the data.
        samples: How many samples there are.
        decided: Of how many the outcome in the pipeline's arm is known.
        survivors: How many of those stand.
        seconds: Wall-clock time so far.
        finished: Whether the measurement is over, whatever it found.
    """

    label: str
    eps: float
    samples: int
    decided: int
    survivors: int
    seconds: float
    finished: bool = False


OnProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Nobody waits."""


@dataclass
class Carried:
    """What measurements hand on to those of the same subject that differ in the budget alone.

    Attributes:
        unfiltered: Of the bare arm.
        filtered: Of the pipeline's.
        aimed_at: Budget of the attack that derived targets come from; None takes the first.
        table: The target of each class, where there are targets, the same at every budget.
        doubts: What a reader should know of these targets.
    """

    unfiltered: CarriedArm = field(default_factory=CarriedArm)
    filtered: CarriedArm = field(default_factory=CarriedArm)
    aimed_at: float | None = None
    table: Table | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tried:
    """Adversarial examples of earlier runs, to be tried on the pipeline before any search.

    Attributes:
        rows: Their samples, by place among those measured ``(n,)``.
        examples: One for each row ``(n, ...)``.
        digest: What they are known by, from one process to the next.
    """

    rows: Tensor
    examples: Tensor
    digest: str


@dataclass(frozen=True)
class Measurement:
    """What is measured, without what is demanded of it.

    Attributes:
        attack: How the attacker searches.
        eps: Radius of the ball, in the units of the data.
        threat: What the attacker knows.
        target: What the attacker wants to see, or None.
        seed: Seed of everything random.
        waivers: Checks of the evidence that are turned off, with the reasons.
        strength: Whether the dear checks are asked for, too.
        queries: The most answers that a black-box attacker gets for one sample, or None.
        disturbances: What happens to every input before the attack.
        compared: Whether searches of the evidence look at both arms, or at the pipeline's alone.
    """

    attack: AttackChoice
    eps: float
    threat: Threat
    target: Target | None = None
    seed: int = 0
    waivers: Waivers = ()
    strength: Strength = "standard"
    queries: int | None = None
    disturbances: Disturbances = ()
    compared: bool = True

    @property
    def attack_seed(self) -> int:
        """Seed of this attack's own draws.

        The budget is left out on purpose: every budget starts in the same directions.
        """
        return seed_of(self.seed, self.attack.spec.name, self.attack.norm)


def measure(
    subject: Subject,
    measurement: Measurement,
    *,
    need: Callable[[Evaluation], Need] = lambda evaluation: Need.ATTACK,
    on_examples: OnExamples = unseen,
    on_progress: OnProgress = silent,
    remembered: Remembered | None = None,
    carried: Carried | None = None,
    tried: Tried | None = None,
    fresh: bool = False,
    trail: Trail | None = None,
    device: str | None = None,
    chunk: int | None = None,
) -> Evaluation:
    """Attack a subject, count who survives, and weigh the evidence for it.

    Args:
        subject: What is under test; it comes back as it was, as does global random state.
        measurement: Attack, budget and threat.
        need: Asked what is still needed, before every chunk and after every step that beats a
            sample.
        on_examples: Is shown every verified example.
        on_progress: Is told after every chunk how far it has come, and once it is over.
        remembered: Findings about this subject from earlier measurements; new ones are added.
        carried: What is known of its samples from other budgets: only who is undecided at this
            one is attacked. What is found here is added.
        tried: Examples that are tried first; whoever falls to one is not attacked.
        fresh: Attack everybody who has not faced the attack at this very budget, and join what
            is known to what is found.
        trail: Remembers where the attack went; None where nobody asks.
        device: Where to run; None stays where the model is.
        chunk: Samples attacked at a time, rounded up to the attack's own blocks; None starts
            small and grows.

    Raises:
        SubjectError: What can't be evaluated, with the reason.
        AttackError: The attack itself broke down.
        ContractError: The attack can't work on this subject.
    """
    started = time.perf_counter()
    subject.check_access(measurement.attack.spec)
    with (
        isolated(measurement.attack_seed),
        subject.borrowed(device, measurement.attack_seed, fast=True) as sides,
    ):
        known = Carried() if carried is None else carried
        run = _Run(
            subject.bounds,
            subject.classes,
            sides,
            measurement,
            on_examples,
            need,
            known,
            started,
            trail,
        )
        about_the_model: Remembered = {} if remembered is None else remembered
        try:
            if run.ask(about_the_model):
                run.disturb()
                run.recall(faced=fresh)
                run.remember(tried)
                run.attack_all(chunk, on_progress)
                run.weigh(about_the_model)
                run.recall()
            if trail is not None and subject.draws == 1:
                trail.confirm()
            return run.evaluation()
        finally:
            on_progress(run.progress(finished=True))


class _Run:
    def __init__(
        self,
        bounds: Box,
        classes: tuple[Any, ...] | None,
        sides: Sides,
        measurement: Measurement,
        on_examples: OnExamples,
        need: Callable[[Evaluation], Need],
        carried: Carried,
        started: float,
        trail: Trail | None = None,
    ) -> None:
        self._needed, self._started, self._carried = need, started, carried
        self._trail = trail
        self._sides, self._measurement = sides, measurement
        self._bounds, self._classes = bounds.to(sides.samples.inputs), classes
        self._search = build_attack(measurement.attack)
        self._findings: list[Evidence] = []
        self._memory: Memory | None = None
        self._digest = digest(sides.modules)
        _check_filter(measurement, sides)

        def arm(name: str, side: Classifier, samples: Samples, bounds: Box) -> RunningArm:
            ball = Ball(measurement.attack.norm, measurement.eps, bounds)
            return RunningArm(name, side, samples, ball, on_examples, getattr(carried, name))

        self._unfiltered = arm("unfiltered", sides.unfiltered, sides.samples, self._bounds)
        self._filtered = None
        if sides.pipeline is not None and self._behind:
            seen, reach = behind_filter(sides.pipeline, sides.samples, self._bounds)
            self._filtered = arm("filtered", sides.known, seen, reach)
        elif sides.pipeline is not None:
            self._filtered = arm("filtered", sides.pipeline, sides.samples, self._bounds)
        self._table = self._aimed()
        if trail is not None:
            trail.roles = tuple(dict.fromkeys(self._roles()))

    def _roles(self) -> Iterator[Role]:
        """Who answers for what is measured, and whose gradients say where to search."""
        gradients = self._measurement.attack.spec.access == "gradient"
        for arm in self._arms:
            followed = self._followed(arm) if gradients else []
            for side in dict.fromkeys([arm.side, *followed]):
                yield Role(arm.name, self._sides.name_of(side), side in followed)
        if self._behind:  # what the filter makes of the samples is where the attack starts
            yield Role("start", "pipeline", False)

    @property
    def _behind(self) -> bool:
        return self._measurement.threat == "behind-filter"

    def _aimed(self) -> Table | None:
        """The target of each class, with the arms sent there; None where there is none."""
        target = self._measurement.target
        if target is None:
            return None
        if self._carried.table is None:
            self._carried.table = target.table(self._numbered(), self._mistakes)
        for arm in self._arms:
            arm.aim(self._carried.table)
        return self._carried.table

    def disturb(self) -> None:
        """What happens to the inputs before an attacker sees them."""
        told = self._measurement
        if told.disturbances:
            moved = disturbed(self._sides.samples, told.disturbances, self._bounds, told.seed)
            for arm in self._arms:
                arm.disturb(moved)
                if self._trail is not None:
                    self._trail.met(arm.name, moved.inputs)

    def recall(self, *, faced: bool = False) -> None:
        """Take over what is known from other measurements, or from those at this very budget.

        Whom the pipeline still needs attacked the bare arm attacks, too, whatever smaller budgets
        say of it: its examples of this budget are the attacker's to try.
        """
        pipeline = self._arms[-1]
        nobody = torch.zeros_like(pipeline.right)
        pipeline.recall(nobody | faced)
        if self._filtered is not None:
            adaptive = self._measurement.threat == "white-box"
            needed = pipeline.open(torch.arange(len(nobody))) if adaptive else nobody
            self._unfiltered.recall(needed | faced)

    def remember(self, tried: Tried | None) -> None:
        """Let the pipeline face examples of earlier runs."""
        if tried is not None:
            place = self._sides.samples.labels.device
            pipeline = self._arms[-1]
            self._memory = pipeline.remember(tried.rows.to(place), tried.examples.to(place))
            if self._trail is not None:
                self._trail.met(pipeline.name, tried.examples.to(pipeline.samples.inputs))

    def _names(self) -> Sequence[Any]:
        """What the classes are called: by the model, or their places."""
        return self._classes or range(min(arm.classes for arm in self._arms))

    def _numbered(self) -> Sequence[int]:
        """Their numbers, also where written as text; a class called by a word has its place."""
        names = self._names()
        texts = [str(name) for name in names]
        if all(text.isdecimal() for text in texts):
            return [int(text) for text in texts]
        return names if all(isinstance(name, int | float) for name in names) else range(len(names))

    def _mistakes(self) -> Mistakes:
        """What the same attack without a target makes of the bare model, in full."""
        own = self._measurement.attack.spec.threats[0]
        eps = self._measurement.eps if self._carried.aimed_at is None else self._carried.aimed_at
        run = _Run(
            self._bounds,
            self._classes,
            replace(self._sides, pipeline=None),
            replace(self._measurement, eps=eps, target=None, threat=own),
            unseen,
            lambda evaluation: Need.ATTACK,
            Carried(),
            self._started,
        )
        for rows in run.chunks(None):
            run.attack(rows)
        source = f"the targets come from the untargeted attack on the bare model at eps={eps:.4g}"
        found = run._unfiltered.tally.evidence(self._measurement.attack.spec.name, "")
        void = tuple(f"{source}, and {finding.text}" for finding in found if finding.void)
        varied = () if self._carried.aimed_at is None else (source,)
        self._carried.doubts = void or varied
        return run._unfiltered.mistakes(len(self._names()))

    def chunks(self, size: int | None) -> list[Tensor]:
        samples, block = self._sides.samples, self._search.block
        rows = torch.arange(len(samples), device=samples.labels.device)
        if block == 1:  # others need all of a block, settled or not
            rows = rows[torch.stack([arm.open(rows) for arm in self._arms]).any(dim=0)]
            # Who fell most easily comes first: where a floor breaks, it shows at once.
            rows = rows[self._arms[-1].nearest[rows].argsort(stable=True)]
        found, wanted = [], size or FIRST_CHUNK
        while len(rows):
            rounded = -(-wanted // block) * block
            found.append(rows[:rounded])
            rows = rows[rounded:]
            wanted = size or min(2 * wanted, LARGEST_CHUNK)
        return found

    def need(self) -> Need:
        """What is still needed, as far as is known now."""
        return self._needed(self._known())

    def _certain(self) -> bool:
        """Whether a search may end in its middle; in a small set an exact number is worth more."""
        return len(self._sides.samples) > FIRST_CHUNK and self.need() is Need.NOTHING

    def attack_all(self, chunk: int | None, on_progress: OnProgress) -> None:
        """Chunk by chunk, for as long as anything is needed."""
        chunks = self.chunks(chunk)
        on_progress(self.progress())
        while chunks and (wanted := self.need()) in (Need.ATTACK, Need.EVIDENCE):
            step = self.attack if wanted is Need.ATTACK else self.look
            step(chunks.pop(0))
            on_progress(self.progress())

    def progress(self, *, finished: bool = False) -> Progress:
        """How far the pipeline's arm has come."""
        arm = self._arms[-1].outcome()
        return Progress(
            self._measurement.attack.label,
            self._measurement.eps,
            arm.samples,
            arm.samples - arm.pending,
            arm.survivors,
            time.perf_counter() - self._started,
            finished,
        )

    def attack(self, rows: Tensor) -> None:
        """One chunk: search, judge, and close whoever was searched for.

        Once enough witnesses are found the search ends in its middle, and who is pending stays so.
        """
        if self._measurement.eps > 0:
            if self._filtered is None:
                self._search_on(self._unfiltered, rows)
            elif self._measurement.threat == "gray-box":
                self._gray_box(self._filtered, rows)
            elif self._behind:
                if not self._search_on(self._unfiltered, rows).ended:
                    self._search_on(self._filtered, rows)
            else:
                self._adaptive(self._filtered, rows)
        if not self._certain():
            for arm in self._arms:
                arm.close(rows)

    def look(self, rows: Tensor) -> None:
        """One chunk that no verdict needs attacked: look at its gradients alone.

        A pass rests on the evidence of all samples, also where the first of them suffice.
        """
        if self._measurement.eps > 0 and self._measurement.attack.spec.access == "gradient":
            for arm in self._arms:
                wanted = rows[arm.open(rows)]
                for side in self._followed(arm) if len(wanted) else []:
                    problem = arm.problem(side, wanted, self._measurement.attack_seed)
                    arm.tally.add(loss_gradients(problem))

    def ask(self, remembered: Remembered) -> bool:
        """Look at the answers themselves, once for each subject.

        Returns:
            Whether the pipeline's can be judged: of one that does not stand by its word nothing
            else is worth measuring.
        """
        for arm in self._arms:
            asked = self._asked(arm)
            for name, check in CHECKS.items():
                if name not in dict(self._measurement.waivers):
                    key = (name, arm.name, arm.side.name, self._measurement.threat)
                    found = remembered.get(key) or Evidence(name, arm.name, *check(asked))
                    remembered[key] = found
                    self._findings.append(found)
        pipeline = self._arms[-1].name
        return not any(found.void and found.arm == pipeline for found in self._findings)

    def _asked(self, arm: RunningArm) -> Asked:
        some = slice(COUNT)
        samples = arm.clean
        return Asked(arm.side, samples.inputs[some], samples.labels[some], arm.logits[some])

    def weigh(self, remembered: Remembered) -> None:
        """What guards a pass, once the attack is over; a failure needs no guard."""
        if self.need() is Need.NOTHING:
            return
        told = self._measurement
        if told.eps > 0:
            for arm in self._arms if told.compared else self._arms[-1:]:
                found = weigh(self._inquiry(arm), told.waivers, told.strength, remembered)
                self._findings.extend(found)
        changed = digest(self._sides.modules) != self._digest
        if "state" not in dict(told.waivers):
            self._findings.extend(
                Evidence("state", arm.name, *state(self._asked(arm), changed)) for arm in self._arms
            )

    def _inquiry(self, arm: RunningArm) -> Inquiry:
        told = self._measurement
        gradients = told.attack.spec.access == "gradient"
        adaptive = arm is self._filtered and told.threat == "white-box"
        return Inquiry(
            arm=arm,
            followed=self._followed(arm) if gradients else [],
            bare=self._sides.known if adaptive else None,
            choice=told.attack,
            search=self._search,
            threat=told.threat if arm is self._filtered else "white-box",
            seed=told.attack_seed,
            survivors=arm.survivors,
        )

    def _followed(self, arm: RunningArm) -> list[Classifier]:
        """Whose gradients an arm's attacker follows."""
        if arm is self._unfiltered or self._measurement.threat != "gray-box":
            return [arm.side]
        known = [] if self._one_model else [self._sides.known]
        return [self._unfiltered.side, *known]

    @property
    def _arms(self) -> list[RunningArm]:
        return [arm for arm in (self._unfiltered, self._filtered) if arm is not None]

    @property
    def _one_model(self) -> bool:
        return self._sides.known is self._sides.unfiltered

    def _search_on(self, arm: RunningArm, rows: Tensor) -> Retirement:
        """Search on the arm's own side; who is beaten retires."""
        rows = rows[arm.open(rows)]
        watch = Retirement(
            arm,
            rows,
            torch.zeros_like(rows, dtype=torch.bool),
            [arm.tally],
            arm.samples.inputs[rows],
            self._certain,
        )
        self._run_search(arm.side, arm, rows, watch)
        if self._measurement.attack.spec.minimises_by_gradients and watch.beaten.any():
            arm.pull_back(watch.rows[watch.beaten], watch.examples[watch.beaten])
        return watch

    def _adaptive(self, filtered: RunningArm, rows: Tensor) -> None:
        """The attacker faces the pipeline itself, and then tries the bare arm's examples on it."""
        bare = self._search_on(self._unfiltered, rows)
        if bare.ended or self._search_on(filtered, rows).ended or not self._one_model:
            return
        moved = bare.rows[bare.beaten]
        wanted = filtered.open(moved)
        filtered.judge(moved[wanted], bare.examples[bare.beaten][wanted])

    def _gray_box(self, filtered: RunningArm, rows: Tensor) -> None:
        """The attacker tries what transfers from every model that he knows.

        Where the bare arm has a model of its own that is both of them: the deployed one may be
        far from home without the filter that it was trained behind.
        """
        ended = self._transfer(self._unfiltered, self._unfiltered.side, filtered, rows)
        if not ended and not self._one_model:
            self._transfer(None, self._sides.known, filtered, rows)

    def _transfer(
        self, bare: RunningArm | None, side: Classifier, filtered: RunningArm, rows: Tensor
    ) -> bool:
        """Craft on a model to the last step; the pipeline judges that step alone.

        An example that stops where the bare model falls has only just crossed its border and
        hardly transfers, so the bare model's answer ends nothing that the pipeline still needs.

        Returns:
            Whether the search ended in its middle, because the verdict is certain.
        """
        wanted = filtered.open(rows)
        rows = rows[wanted if bare is None else wanted | bare.open(rows)]
        tallies = [arm.tally for arm in (bare, filtered) if arm is not None]
        inputs = filtered.samples.inputs[rows]
        watch = Retirement(bare, rows, filtered.open(rows), tallies, inputs, self._certain)
        found = self._run_search(side, filtered, rows, watch)
        for ends in [] if watch.ended else found:
            wanted = filtered.open(rows)
            filtered.judge(rows[wanted], ends[wanted])
        return watch.ended

    def _run_search(
        self, side: Classifier, arm: RunningArm, rows: Tensor, watch: Retirement
    ) -> list[Tensor]:
        told = self._measurement
        if not len(rows):
            return []
        problem = arm.problem(side, rows, told.attack_seed, told.queries)
        if self._trail is None:
            return self._search.search(problem, watch)
        ends = self._search.search(self._trail.watched(arm.name, problem), watch)
        self._trail.ended(arm.name, ends, watch.beaten)
        return ends

    def evaluation(self) -> Evaluation:
        """What is known now, with notes and confusion matrices."""
        return replace(
            self._known(),
            notes=self._notes(),
            unfiltered=self._unfiltered.result(),
            filtered=None if self._filtered is None else self._filtered.result(),
        )

    def _known(self) -> Evaluation:
        """What is known now, as cheaply as a verdict needs it."""
        measurement, choice = self._measurement, self._measurement.attack
        return Evaluation(
            attack=choice.spec.name,
            label=choice.label,
            norm=choice.norm,
            eps=measurement.eps,
            threat=measurement.threat,
            target=None if measurement.target is None else measurement.target.plain,
            arguments=dict(self._search.strength),
            seed=measurement.seed,
            unfiltered=self._unfiltered.outcome(),
            filtered=None if self._filtered is None else self._filtered.outcome(),
            evidence=self._evidence(),
            targets=self._table,
            classes=tuple(map(str, self._names())),
            queries=self._queries(),
            disturbances=measurement.disturbances,
            memory=self._memory,
            seconds=time.perf_counter() - self._started,
        )

    def _evidence(self) -> tuple[Evidence, ...]:
        waived = dict(self._measurement.waivers)
        name = self._measurement.attack.spec.name
        # A search that only asks may find no slope to climb and still have searched: a forest
        # answers in steps. Where features are frozen it may also have searched the wrong ones.
        asks = self._measurement.attack.spec.access != "gradient" and self._bounds.mutable is None
        told = [finding for arm in self._arms for finding in arm.evidence(name)]
        found = [finding for finding in told if not (asks and finding.name == "loss")]
        off = [
            Evidence(check, arm.name, "waived", reason)
            for arm in self._arms
            for check, reason in waived.items()
        ]
        return (
            *self._findings,
            *(finding for finding in found if finding.name not in waived),
            *off,
        )

    def _queries(self) -> Queries | None:
        """What the pipeline was asked; under other threats the attacker asks a copy of his own."""
        measurement = self._measurement
        if measurement.threat != "black-box" or not measurement.eps:
            return None
        return self._arms[-1].queries(measurement.queries)

    def _notes(self) -> tuple[str, ...]:
        eps, samples, pipeline = self._measurement.eps, self._sides.samples, self._arms[-1]
        travel = self._search.travel(eps) if eps else None
        return (
            *samples.notes,
            *self._sides.notes,
            *dict.fromkeys(note for arm in self._arms for note in arm.side.notes),
            *self._setting_notes(pipeline.ball, travel),
            *([] if self._filtered is None else self._filtered.filter_notes(self._bounds)),
            *([_UNREACHABLE] if self._behind else []),
            *pipeline.target_notes(),
            *pipeline.carried_notes(),
            *(note for arm in self._arms for note in arm.undecided_notes()),
            *(note for arm in self._arms for note in arm.draw_notes()),
            *self._carried.doubts,
            *count_note(len(samples)),
        )

    def _setting_notes(self, ball: Ball, travel: float | None) -> tuple[str, ...]:
        """A budget of 0 is worth a word where nothing else happens."""
        if self._measurement.disturbances and not ball.eps:
            return ()
        sample = self._sides.samples.inputs[0]
        return setting_notes(self._measurement.attack.spec.name, ball, sample, travel)


_UNREACHABLE = (
    "threat='behind-filter' changes what the filter puts out, where no attacker of the deployed "
    "pipeline can reach: it reproduces publications and shows nothing of the pipeline"
)


def _check_filter(measurement: Measurement, sides: Sides) -> None:
    threat = measurement.threat
    if measurement.disturbances and threat == "behind-filter":
        raise ContractError(
            "threat='behind-filter' starts from the filter's outputs, but disturbances happen to "
            "inputs; leave one of them out"
        )
    if sides.pipeline is None and threat in FILTER_THREATS:
        raise ContractError(
            f"threat={threat!r} is {FILTER_THREATS[threat]}, but there is no filter: give one "
            "(fixture aerobust_filter), or leave the threat out"
        )
