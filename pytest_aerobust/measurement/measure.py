"""One measurement: both arms over chunks of samples, until enough is known.

Clean answers of all samples come first. Then each chunk is attacked on both arms: only
survivors are attacked, every claimed example is verified, and after each chunk whoever asked
may say that the verdict is certain.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pytest_aerobust.attacks.build import build_attack
from pytest_aerobust.attacks.search import loss_gradients
from pytest_aerobust.contract.targets import Mistakes
from pytest_aerobust.counterexamples.collector import OnExamples, unseen
from pytest_aerobust.evidence.answers import CHECKS, COUNT, Asked, state
from pytest_aerobust.evidence.weigh import Inquiry, KnownFindings, weigh
from pytest_aerobust.measurement.account import Account
from pytest_aerobust.measurement.arm import RunningArm
from pytest_aerobust.measurement.arms import Arms
from pytest_aerobust.measurement.carried import Carried, RememberedExamples
from pytest_aerobust.measurement.measurement import Measurement, OnProgress, Progress, silent
from pytest_aerobust.measurement.searching import Searcher
from pytest_aerobust.measurement.threats import attacker, check_filter
from pytest_aerobust.measurement.trail import Trail
from pytest_aerobust.results.evaluation import Evaluation, Evidence
from pytest_aerobust.subjects.borrowing import digest
from pytest_aerobust.subjects.disturbing import disturbed
from pytest_aerobust.subjects.randomness import isolated
from pytest_aerobust.subjects.subject import Subject
from pytest_aerobust.verdict.need import Need

# Samples attacked at a time: few at first, since a broken floor shows soon, then as many as keep
# a step's overhead small while its activations still fit the cache.
FIRST_CHUNK, LARGEST_CHUNK = 128, 256


def in_full(evaluation: Evaluation) -> Need:
    """Whoever wants numbers wants all of them."""
    return Need.ATTACK


def measure(
    subject: Subject,
    measurement: Measurement,
    *,
    need: Callable[[Evaluation], Need] = in_full,
    on_examples: OnExamples = unseen,
    on_progress: OnProgress = silent,
    remembered: KnownFindings | None = None,
    carried: Carried | None = None,
    tried: RememberedExamples | None = None,
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
        about_the_model: KnownFindings = {} if remembered is None else remembered
        check_filter(measurement, sides)
        arms = Arms(sides, measurement, subject.bounds, subject.classes, on_examples, known)
        run = _Run(arms, measurement, known, need, started, trail)
        try:
            run.aim()
            if run.ask(about_the_model):
                run.disturb()
                run.recall(faced=fresh)
                run.remember(tried)
                run.attack_all(chunk, on_progress)
                run.weigh(about_the_model)
                run.recall()
            if trail is not None and subject.draws == 1:
                trail.confirm()
            return run.account.evaluation()
        finally:
            on_progress(run.progress(finished=True))


class _Run:
    """The loop: what is asked of the arms, in which order, and until when.

    Args:
        arms: Both arms, after their clean pass.
        measurement: What is measured.
        carried: What is known from other budgets.
        need: Asked what is still needed.
        started: When it began.
        trail: Remembers where the attack went; None where nobody asks.
    """

    def __init__(
        self,
        arms: Arms,
        measurement: Measurement,
        carried: Carried,
        need: Callable[[Evaluation], Need],
        started: float,
        trail: Trail | None = None,
    ) -> None:
        self._arms, self._measurement, self._carried = arms, measurement, carried
        self._needed, self._trail = need, trail
        self._search = build_attack(measurement.attack)
        self._digest = digest(arms.sides.modules)
        searcher = Searcher(self._search, measurement, self._certain, trail)
        self._attacker = attacker(arms, searcher)
        self.account = Account(measurement, arms, self._search, self._attacker, carried, started)
        if trail is not None:
            trail.roles = tuple(dict.fromkeys(self._attacker.roles()))

    def aim(self) -> None:
        """Send the arms where the attacker wants them."""
        self._arms.aim(self._measurement.target, self._mistakes)

    def _mistakes(self) -> Mistakes:
        """What the same attack without a target makes of the bare model, in full."""
        own, arms = self._measurement.attack.spec.threats[0], self._arms
        eps = self._measurement.eps if self._carried.aimed_at is None else self._carried.aimed_at
        measurement = replace(self._measurement, eps=eps, target=None, threat=own)
        alone = arms.alone(measurement)
        run = _Run(alone, measurement, Carried(), in_full, self.account.started)
        for rows in run.chunks(None):
            run.attack(rows)
        source = f"the targets come from the untargeted attack on the bare model at eps={eps:.4g}"
        bare = alone.unfiltered
        found = bare.tallies.gradients.evidence(measurement.attack.spec.name, "")
        void = tuple(f"{source}, and {finding.text}" for finding in found if finding.void)
        varied = () if self._carried.aimed_at is None else (source,)
        self._carried.doubts = void or varied
        return bare.outcomes.mistakes(len(arms.names))

    def disturb(self) -> None:
        """What happens to the inputs before an attacker sees them."""
        told = self._measurement
        if told.disturbances:
            samples = self._arms.sides.samples
            moved = disturbed(samples, told.disturbances, self._arms.bounds, told.seed)
            for arm in self._arms:
                arm.disturb(moved)
                if self._trail is not None:
                    self._trail.met(arm.name, moved.inputs)

    def recall(self, *, faced: bool = False) -> None:
        """Take over what is known from other measurements, or from those at this very budget.

        Whom the pipeline still needs attacked the bare arm attacks, too, whatever smaller budgets
        say of it: its examples of this budget are the attacker's to try.
        """
        pipeline = self._arms.pipeline.outcomes
        nobody = torch.zeros_like(pipeline.right)
        pipeline.recall(nobody | faced)
        if self._arms.filtered is not None:
            both = self._attacker.needs_bare_examples
            needed = pipeline.open(torch.arange(len(nobody))) if both else nobody
            self._arms.unfiltered.outcomes.recall(needed | faced)

    def remember(self, tried: RememberedExamples | None) -> None:
        """Let the pipeline face examples of earlier runs."""
        if tried is not None:
            pipeline = self._arms.pipeline
            place = pipeline.samples.labels.device
            rows, examples = tried.rows.to(place), tried.examples.to(place)
            self.account.memory = pipeline.remember(rows, examples)
            if self._trail is not None:
                self._trail.met(pipeline.name, tried.examples.to(pipeline.samples.inputs))

    def chunks(self, size: int | None) -> list[Tensor]:
        """The samples to attack, a chunk at a time."""
        samples, block = self._arms.sides.samples, self._search.block
        rows = torch.arange(len(samples), device=samples.labels.device)
        if block == 1:  # others need all of a block, settled or not
            rows = rows[torch.stack([arm.outcomes.open(rows) for arm in self._arms]).any(dim=0)]
            # Who fell most easily comes first: where a floor breaks, it shows at once.
            rows = rows[self._arms.pipeline.outcomes.nearest[rows].argsort(stable=True)]
        found, wanted = [], size or FIRST_CHUNK
        while len(rows):
            rounded = -(-wanted // block) * block
            found.append(rows[:rounded])
            rows = rows[rounded:]
            wanted = size or min(2 * wanted, LARGEST_CHUNK)
        return found

    def _need(self) -> Need:
        """What is still needed, as far as is known now."""
        return self._needed(self.account.known())

    def _certain(self) -> bool:
        """Whether a search may end in its middle; in a small set an exact number is worth more."""
        samples = self._arms.sides.samples
        return len(samples) > FIRST_CHUNK and self._need() is Need.NOTHING

    def attack_all(self, chunk: int | None, on_progress: OnProgress) -> None:
        """Chunk by chunk, for as long as anything is needed."""
        chunks = self.chunks(chunk)
        on_progress(self.progress())
        while chunks and (wanted := self._need()) in (Need.ATTACK, Need.EVIDENCE):
            step = self.attack if wanted is Need.ATTACK else self._look
            step(chunks.pop(0))
            on_progress(self.progress())

    def progress(self, *, finished: bool = False) -> Progress:
        """How far the pipeline's arm has come."""
        arm = self._arms.pipeline.outcomes.arm()
        return Progress(
            self._measurement.attack.label,
            self._measurement.eps,
            arm.samples,
            arm.samples - arm.pending,
            arm.survivors,
            self.account.seconds,
            finished,
        )

    def attack(self, rows: Tensor) -> None:
        """One chunk: search, judge, and close whoever was searched for.

        Once enough witnesses are found the search ends in its middle, and who is pending stays so.
        """
        if self._measurement.eps > 0:
            self._attacker.attack(rows)
        if not self._certain():
            for arm in self._arms:
                arm.outcomes.close(rows)

    def _look(self, rows: Tensor) -> None:
        """One chunk that no verdict needs attacked: look at its gradients alone.

        A pass rests on the evidence of all samples, also where the first of them suffice.
        """
        for arm in self._arms if self._measurement.eps > 0 else ():
            wanted = rows[arm.outcomes.open(rows)]
            for side in self._attacker.followed(arm) if len(wanted) else []:
                problem = arm.problem(side, wanted, self._measurement.attack_seed)
                arm.tallies.gradients.add(loss_gradients(problem))

    def ask(self, remembered: KnownFindings) -> bool:
        """Look at the answers themselves, once for each subject.

        Returns:
            Whether the pipeline's can be judged: of one that does not stand by its word nothing
            else is worth measuring.
        """
        findings = self.account.findings
        for arm in self._arms:
            for name, check in CHECKS.items():
                if name not in dict(self._measurement.waivers):
                    key = (name, arm.name, arm.side.name, self._measurement.threat)
                    found = remembered.get(key) or Evidence(name, arm.name, *check(_asked(arm)))
                    remembered[key] = found
                    findings.append(found)
        pipeline = self._arms.pipeline.name
        return not any(found.void and found.arm == pipeline for found in findings)

    def weigh(self, remembered: KnownFindings) -> None:
        """What guards a pass, once the attack is over; a failure needs no guard."""
        if self._need() is Need.NOTHING:
            return
        told, findings = self._measurement, self.account.findings
        if told.eps > 0:
            for arm in self._arms if told.compared else (self._arms.pipeline,):
                findings += weigh(self._inquiry(arm), told.waivers, told.strength, remembered)
        changed = digest(self._arms.sides.modules) != self._digest
        if "state" not in dict(told.waivers):
            findings += [
                Evidence("state", arm.name, *state(_asked(arm), changed)) for arm in self._arms
            ]

    def _inquiry(self, arm: RunningArm) -> Inquiry:
        told = self._measurement
        return Inquiry(
            arm=arm,
            followed=self._attacker.followed(arm),
            bare=self._attacker.bare(arm),
            choice=told.attack,
            search=self._search,
            threat=told.threat if arm is self._arms.filtered else "white-box",
            seed=told.attack_seed,
            survivors=arm.outcomes.survivors,
        )


def _asked(arm: RunningArm) -> Asked:
    some = slice(COUNT)
    return Asked(arm.side, arm.clean.inputs[some], arm.clean.labels[some], arm.logits[some])
