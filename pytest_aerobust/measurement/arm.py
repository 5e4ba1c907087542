"""One side of the comparison while it runs: who is right, who is open, who is beaten."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.attacks.balls import aligned
from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.contract.targets import Mistakes, Table
from pytest_aerobust.counterexamples.collector import OnExamples
from pytest_aerobust.counterexamples.rounding import CloseAnswers, Contest, Rounding
from pytest_aerobust.counterexamples.verification import Ball, Found, correct, verify
from pytest_aerobust.evidence.notes import undecided_notes
from pytest_aerobust.evidence.sanity import check_classes, clean_evidence, target_evidence
from pytest_aerobust.evidence.tallies import (
    CandidateTally,
    DrawTally,
    GradientTally,
    MarginTally,
    TieTally,
)
from pytest_aerobust.measurement.ledger import Ledger
from pytest_aerobust.results.arm import (
    AT_TARGET,
    BEATEN,
    EXEMPT,
    FELL,
    HUNTED,
    NEAR_TARGET,
    PENDING,
    SURVIVED,
    UNDECIDED,
    WRONG,
    Arm,
    Confusion,
)
from pytest_aerobust.results.evaluation import Evidence, Memory, Queries
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.pipeline import Classifier

# Of the line from an original to its example: to a thousandth.
_HALVINGS = 10
# Clean samples that a side is shown where its clean pass is known.
_SEEN = 16
# Examples of earlier runs that are verified at a time.
_TRIED = 256
# How much farther from its original a candidate is tried that a tie or rounding decides.
_FARTHER = 1e-3


@dataclass(frozen=True)
class CleanPass:
    """What a side makes of the inputs that nobody attacked.

    Attributes:
        logits: Of every draw, ``(draws, N, K)``.
        lowest: The smallest value that the filter gives to each feature.
        highest: The largest.
    """

    logits: Tensor
    lowest: Tensor
    highest: Tensor


@dataclass
class CarriedArm:
    """What measurements of one arm hand on to those at other budgets.

    Attributes:
        clean: Its clean pass, the same at every budget; None until one was made.
        ledger: What is known of each sample; None until there are samples.
    """

    clean: CleanPass | None = None
    ledger: Ledger | None = None


class RunningArm:
    """An arm's outcomes, from the clean pass to the last claim.

    A sample is open while it is pending, or, where the attacker has targets, hunted: beaten but
    not yet seen as its target.

    Args:
        name: ``unfiltered`` or ``filtered``.
        side: What the arm judges.
        samples: Inputs and labels.
        ball: Where the attacker may move an input.
        on_examples: Is shown every verified example.
        carried: What is known from other budgets; it learns what is found here.

    Attributes:
        samples: Where attacks start: the clean samples, or what disturbances made of them.
        clean: The samples as they came.
        closed: Whose attack is over in this run, a mask ``(N,)``.
        targets: The class that the attacker wants of each sample ``(N,)``, below 0 for one that
            is not attacked; None where any wrong answer will do.
    """

    targets: Tensor | None = None

    def __init__(
        self,
        name: str,
        side: Classifier,
        samples: Samples,
        ball: Ball,
        on_examples: OnExamples,
        carried: CarriedArm,
    ) -> None:
        self.name = name
        self.side = side
        self.tally = GradientTally()
        self._candidates, self._draws = CandidateTally(), DrawTally()
        self.samples, self.clean, self.ball = samples, samples, ball
        self._on_examples = on_examples
        self._carried = carried
        drawn = self._clean_logits()
        logits = drawn.mean(dim=0)
        check_classes(logits, samples, side.name)
        self._right = correct(logits, samples.labels)
        self._logits = logits
        self._rounding = Rounding.of(side, samples.inputs, logits, ball.aside)
        self._margins = MarginTally(logits, samples.labels)
        self._draws.saw_clean(drawn, samples.labels)
        self._clean_answers = logits.argmax(dim=1)
        self._answers = self._clean_answers.clone()
        self._outcomes = torch.where(self._right, ord(PENDING), ord(WRONG))
        self._asked = torch.zeros_like(samples.labels)
        self.closed = torch.zeros_like(self._right)
        self._fallen = torch.zeros_like(self._right)
        self._withstood_before = self._beaten_before = 0
        self._remembered = torch.zeros_like(self._right)
        self._near, self._near_target = (torch.zeros_like(self._right) for _ in range(2))
        self._unsure = self._look_at_ties()
        self._unsure_places = tuple(self._unsure.nonzero().flatten().tolist())

    def _look_at_ties(self) -> Tensor:
        """Of whom rounding decides whether they are right before any attack, a mask ``(N,)``.

        An attacker may send a sample as it is, so who is right by a tie is undecided, too.
        """
        inputs = self.samples.inputs

        def aside(rows: Tensor) -> Tensor:
            return self.ball.aside(inputs[rows], inputs[rows])

        answers = CloseAnswers(self.side.judged, inputs, self._logits, aside, self._rounding)
        miss = answers.miss(self.samples.labels)
        self._ties = TieTally(miss.tied | miss.open)
        self._near_at_start = miss.open & self._right
        self._near = self._near_at_start.clone()
        return miss.open & ~miss.tied

    @property
    def classes(self) -> int:
        return self._logits.shape[1]

    def aim(self, table: Table) -> None:
        """Send each class where the attacker wants it, before any search."""
        wanted = torch.tensor([-1 if target is None else target for target in table])
        self.targets = wanted.to(self.samples.labels)[self.samples.labels]
        left_alone = (self.targets < 0) | (self.targets == self.samples.labels)
        self._outcomes[self._right & left_alone] = ord(EXEMPT)

    @property
    def _ledger(self) -> Ledger:
        if self._carried.ledger is None:
            self._carried.ledger = Ledger(len(self.samples), self.targets is not None)
        return self._carried.ledger

    def recall(self, anew: Tensor) -> None:
        """Take over what is known from other measurements; call it once it is aimed.

        Args:
            anew: Of whom only searches at this very budget count, a mask ``(N,)``.
        """
        start = self._near_at_start.nonzero().flatten().cpu()
        self._ledger.saw_undecided(start, torch.zeros(len(start), dtype=torch.float64))
        known = self._ledger.outcomes(self.ball.eps).to(self._outcomes)
        attacked = self._right & (self._outcomes != ord(EXEMPT)) & (self._outcomes != ord(FELL))
        own = self._ledger.faced(self.ball.eps).to(attacked.device)
        attacked &= own | ~anew
        news = attacked & (known != self._outcomes)
        survived = news & (known == ord(SURVIVED))
        undecided = news & (known == ord(UNDECIDED))
        beaten = news & ~survived & ~undecided & (known != ord(PENDING))
        self._withstood_before += int((survived & ~own).sum())
        self._beaten_before += int((beaten & ~own).sum())
        self._outcomes = torch.where(news, known, self._outcomes)
        self._answers = torch.where(beaten, self._ledger.answers.to(self._answers), self._answers)
        if self.targets is not None:
            hit = beaten & (known == ord(AT_TARGET))
            self._answers = torch.where(hit, self.targets, self._answers)

    def disturb(self, samples: Samples) -> None:
        """Let attacks start from other inputs; who errs on those themselves is beaten.

        Nobody attacks the samples that a target leaves alone, but they are disturbed, too.
        """
        self.samples = samples
        with torch.no_grad():
            logits = torch.cat([self.side.judged(inputs) for inputs in samples.chunks()])
        self._margins = MarginTally(logits, samples.labels)
        self._near_at_start = torch.zeros_like(self._right)
        self._near = self._near_at_start.clone()
        everyone = torch.arange(len(samples), device=samples.labels.device)
        exempt = self._outcomes == ord(EXEMPT)
        doubtful = self._doubtful(logits, samples.labels)
        rows = everyone[(self.open(everyone) | exempt) & doubtful]
        for part in torch.split(rows, len(samples.chunks()[0])):
            self._fallen[part] = self._counted(part, samples.inputs[part])
        self._outcomes[exempt & self._fallen] = ord(FELL)
        if not self.ball.eps:
            self.close(everyone)

    @property
    def nearest(self) -> Tensor:
        """The smallest budget known to beat each sample, from whatever measurement ``(N,)``."""
        return self._ledger.beaten_from.to(self._right.device)

    def open(self, rows: Tensor) -> Tensor:
        """Which of `rows` the attacker still wants, as a mask."""
        outcomes = self._outcomes[rows]
        return (outcomes == ord(PENDING)) | (outcomes == ord(HUNTED))

    @property
    def right(self) -> Tensor:
        """Which samples are right before any attack, ``(N,)``."""
        return self._right

    @property
    def logits(self) -> Tensor:
        """What the side says to the inputs that nobody attacked, ``(N, K)``."""
        return self._logits

    @property
    def survivors(self) -> Tensor:
        """Whom the whole attack has not beaten so far, undecided or not, a mask ``(N,)``."""
        return (self._outcomes == ord(SURVIVED)) | (self._outcomes == ord(UNDECIDED))

    def attacked(self) -> Tensor:
        """The samples whose attack is over; who fell to a disturbance had none."""
        ends = [ord(letter) for letter in (SURVIVED, BEATEN, AT_TARGET, UNDECIDED, NEAR_TARGET)]
        over = torch.isin(self._outcomes, self._outcomes.new_tensor(ends))
        return (over & ~self._fallen & ~self._remembered).nonzero().flatten()

    def problem(
        self, side: Classifier, rows: Tensor, seed: int, queries: int | None = None
    ) -> Problem:
        """Attack `side` from this arm's inputs; under gray-box the side is not the arm's own."""
        samples, places = self.samples, rows.cpu()
        return Problem(
            ask=side,
            gradient=self.ball.bounds.followed(side.gradient),
            inputs=samples.inputs[rows],
            labels=samples.labels[rows],
            targets=None if self.targets is None else self.targets[rows],
            eps=self.ball.eps,
            bounds=self.ball.bounds,
            places=places.numpy(),
            samples=samples.ids[places].numpy(),
            seed=seed,
            queries=queries,
        )

    def judge(self, rows: Tensor, candidates: Tensor, logits: Tensor | None = None) -> Tensor:
        """Count the candidates for `rows` that verification accepts, as a mask.

        Args:
            rows: Samples, none of them beaten, unless its target is still open.
            candidates: One for each row.
            logits: What the side said to them in another batch: only those it errs on, or
                nearly, are worth a forward pass of their own. None verifies all.
        """
        accepted = torch.zeros_like(rows, dtype=torch.bool)
        claims = torch.ones_like(accepted)
        if logits is not None:
            claims = self._doubtful(logits, self.samples.labels[rows])
            self._margins.add(rows, logits)
        if claims.any():
            self._candidates.add(candidates[claims])
            accepted[claims] = self._counted(rows[claims], candidates[claims])
        return accepted

    def remember(self, rows: Tensor, examples: Tensor) -> Memory:
        """Try examples that earlier runs left, before any search of this one.

        Args:
            rows: Their samples.
            examples: One for each row.
        """
        survived = self.survivors[rows]  # where another measurement has attacked them
        wanted = survived | self.open(rows)
        rows, examples = rows[wanted], examples[wanted].to(self.samples.inputs)
        for start in range(0, len(rows), _TRIED):
            part = rows[start : start + _TRIED]
            # Not judged as claims of the attack, which has made none of them.
            fell = part[self._counted(part, examples[start : start + _TRIED])]
            self._remembered[fell] = True
        places = self.samples.ids[self._remembered.cpu()].tolist()
        return Memory(len(rows), tuple(sorted(places)), attacked=bool(survived[wanted].all()))

    def _doubtful(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Whom the side errs on by its logits, or might on another machine, as a mask."""
        contest = Contest.of(logits, labels)
        return (contest.lost_by >= -self._rounding.least_lead(contest)) | self._rounding.stepped

    def found(self, rows: Tensor, candidates: Tensor) -> Found:
        """What verification says of candidates for `rows`, without counting them."""
        originals, labels = self.samples.inputs[rows], self.samples.labels[rows]
        targets = None if self.targets is None else self.targets[rows]
        return verify(
            self.side.judged, originals, candidates, labels, targets, self.ball, self._rounding
        )

    def _counted(self, rows: Tensor, candidates: Tensor) -> Tensor:
        found = self.found(rows, candidates)
        self._count(rows, candidates, found)
        accepted = found.adversarial.clone()
        near = (found.undecided | found.near_target).nonzero().flatten()
        if len(near):
            # An attack that stops on the border could as well have gone a thousandth farther.
            originals = self.samples.inputs[rows[near]]
            farther = originals + (1 + _FARTHER) * (candidates[near] - originals)
            farther = farther.clamp(*self.ball.bounds.around(originals))
            again = self.found(rows[near], farther)
            self._count(rows[near], farther, again)
            accepted[near] |= again.adversarial
        return accepted

    def _count(self, rows: Tensor, candidates: Tensor, found: Found) -> None:
        """Enter what verification says of candidates for `rows`."""
        self._enter_undecided(rows[found.undecided], candidates[found.undecided])
        near = found.near_target
        self._enter_undecided(rows[near], candidates[near], at_target=True)
        if not found.adversarial.any():
            return
        beaten, answers = rows[found.adversarial], found.answers[found.adversarial]
        self._outcomes[beaten] = ord(BEATEN if self.targets is None else HUNTED)
        self._outcomes[rows[found.at_target]] = ord(AT_TARGET)
        self._answers[beaten] = answers
        self._ties.add(rows[found.tied])
        numbers = self.samples.ids[beaten.cpu()].numpy()
        examples = candidates[found.adversarial]
        self._enter(beaten, examples, answers, found.at_target[found.adversarial])
        self._look_at_draws(examples, self.samples.labels[beaten])
        self._on_examples(self.name, numbers, examples, answers.cpu().numpy())

    def _enter_undecided(self, rows: Tensor, candidates: Tensor, at_target: bool = False) -> None:
        """Remember candidates of which a tie or rounding decides what they are."""
        if not len(rows):
            return
        near = self._near_target if at_target else self._near
        near[rows] = True
        distances = self.ball.distances(self.samples.inputs[rows], candidates)
        distances = distances.clamp_max(self.ball.eps).cpu()
        self._ledger.saw_undecided(rows.cpu(), distances, at_target)

    def _enter(self, rows: Tensor, examples: Tensor, answers: Tensor, at_target: Tensor) -> None:
        """Hand verified examples on to other budgets; what rounding adds to eps is no distance."""
        distances = self.ball.distances(self.samples.inputs[rows], examples)
        self._ledger.saw_examples(
            rows.cpu(),
            distances.clamp_max(self.ball.eps).cpu(),
            answers.cpu(),
            at_target.cpu(),
        )
        self._ledger.saw_search(rows.cpu(), self.ball.eps)

    def pull_back(self, rows: Tensor, examples: Tensor) -> None:
        """Enter how near to its original each example of a minimising attack can be drawn.

        Such an attack looks for the nearest example whatever the budget: one search settles all
        smaller budgets, too.

        Args:
            rows: Their samples, each beaten in this run.
            examples: What it found ``(n, ...)``.
        """
        originals = self.samples.inputs[rows]
        near, far = torch.zeros(len(rows)).to(originals), torch.ones(len(rows)).to(originals)
        for _ in range(_HALVINGS):
            middle = (near + far) / 2
            points = torch.lerp(originals, examples, aligned(middle, originals))
            found = self.found(rows, points)
            held = found.adversarial
            near, far = torch.where(held, near, middle), torch.where(held, middle, far)
            self._enter(rows[held], points[held], found.answers[held], found.at_target[held])
        self._ledger.saw_minimum(rows.cpu())

    def answered(self, rows: Tensor) -> None:
        """Count one more answer to an attacker for each of `rows`."""
        self._asked[rows] += 1

    def queries(self, limit: int | None) -> Queries:
        """How many answers an attacker has had so far, of the `limit` for each sample."""
        asked = self._asked[self._asked > 0].double()
        if not len(asked):
            return Queries(limit, 0, 0.0)
        return Queries(limit, int(asked.max()), float(asked.mean()))

    def _look_at_draws(self, examples: Tensor, labels: Tensor) -> None:
        """See what single draws make of examples that the mean of others errs on."""
        if self.side.draws > 1:
            with torch.no_grad():
                self._draws.saw_examples(self.side.singles(examples), labels)

    def close(self, rows: Tensor) -> None:
        """The attack on `rows` is over: who is pending has survived it, who is hunted got away.

        Unless a tie or rounding decides that.
        """
        outcomes = self._outcomes[rows]
        away = rows[outcomes == ord(PENDING)]
        got = rows[outcomes == ord(HUNTED)]
        self._outcomes[away], self._outcomes[got] = ord(SURVIVED), ord(BEATEN)
        self._outcomes[got[self._near_target[got]]] = ord(NEAR_TARGET)
        standing = rows[self._outcomes[rows] == ord(SURVIVED)]
        self._outcomes[standing[self._near[standing]]] = ord(UNDECIDED)
        over = torch.cat([away, got])
        self.closed[over] = True
        self._ledger.saw_search(over.cpu(), self.ball.eps)
        self._ledger.saw_end(over.cpu(), self.ball.eps)

    def outcome(self) -> Arm:
        """What is known of every sample now, as cheaply as a verdict needs it."""
        outcomes = self._outcomes.to("cpu", torch.uint8).numpy().tobytes().decode("ascii")
        return Arm(outcomes, unsure=self._unsure_places)

    def result(self) -> Arm:
        """The same with the confusion matrices."""
        clean, attacked = self._confusion(self._clean_answers), self._confusion(self._answers)
        return replace(self.outcome(), clean_confusion=clean, confusion=attacked)

    def mistakes(self, classes: int) -> Mistakes:
        """What the attack made of each of the first `classes`, the others left out."""
        others = self._logits.scatter(1, self.samples.labels[:, None], -torch.inf)
        runners_up = others[:, :classes].argmax(dim=1)
        return Mistakes(self._counts(self._answers, classes), self._counts(runners_up, classes))

    def _counts(self, answers: Tensor, classes: int) -> list[list[int]]:
        counts = np.zeros((classes, self.classes), dtype=int)
        for actual, answered, count in self._confusion(answers):
            counts[actual, answered] = count
        found: list[list[int]] = counts[:, :classes].tolist()
        return found

    def _confusion(self, answers: Tensor) -> Confusion:
        cells = (self.samples.labels * self.classes + answers).cpu().numpy()
        filled, counts = np.unique(cells, return_counts=True)
        return tuple(
            (*divmod(cell, self.classes), count)
            for cell, count in zip(filled.tolist(), counts.tolist(), strict=True)
        )

    def evidence(self, attack: str) -> list[Evidence]:
        """What speaks against a pass of this arm."""
        return [
            *clean_evidence(self._right, self.samples.labels, self.name),
            *target_evidence(self._right, self.samples.labels, self.targets, self.name),
            *self.tally.evidence(attack, self.name),
            *self._candidates.evidence(attack, self.name),
            *self._ties.evidence(self._undecided, self.name),
            *self._stuck(attack),
        ]

    @property
    def _undecided(self) -> Tensor:
        """Of whom a tie or rounding decides what the attack makes of them, a mask ``(N,)``."""
        undecided = (self._outcomes == ord(UNDECIDED)) | (self._outcomes == ord(NEAR_TARGET))
        return undecided | self._unsure

    def undecided_notes(self) -> tuple[str, ...]:
        """Which samples widen the intervals, because a tie or rounding decides them."""
        places = self.samples.ids[self._undecided.cpu()].tolist()
        return undecided_notes(self.name, sorted(places), len(self.samples))

    def _stuck(self, attack: str) -> list[Evidence]:
        """Of an attacker with targets the margin of the label says little."""
        if self.targets is not None:
            return []
        return self._margins.evidence(self.survivors, attack, self.name)

    def target_notes(self) -> tuple[str, ...]:
        """How many samples nobody attacks, because their class is sent nowhere."""
        alone = 0 if self.targets is None else int((self.targets < 0).sum())
        if not alone:
            return ()
        return (
            f"{alone} of {len(self.samples)} samples are not attacked, because target= names no "
            "class for theirs: they count as survivors where they are right",
        )

    def carried_notes(self) -> tuple[str, ...]:
        """How many samples were not attacked here, because other budgets settle them."""
        notes = []
        if count := self._withstood_before:
            notes.append(
                f"{count} of {len(self.samples)} samples count as withstood, because they "
                f"withstood a larger budget than {self.ball.eps:.4g}"
            )
        if count := self._beaten_before:
            notes.append(
                f"{count} of {len(self.samples)} samples count as beaten by examples inside this "
                "ball that were found at other budgets"
            )
        return tuple(notes)

    def draw_notes(self) -> tuple[str, ...]:
        """What single draws say, where the mean of several is judged."""
        return self._draws.notes(self.name) if self.side.draws > 1 else ()

    def filter_notes(self, bounds: Box) -> tuple[str, ...]:
        """A warning where the filter's clean outputs leave the bounds of the data."""
        low, high = bounds.low, bounds.high
        slack = 1e-6 * (high - low)
        if ((low - slack <= self._lowest) & (self._highest <= high + slack)).all():
            return ()
        return (
            f"the filter's outputs span [{self._lowest.min():g}, {self._highest.max():g}], outside "
            f"the bounds {bounds}: the model sees another scale than eps is stated in",
        )

    def _clean_logits(self) -> Tensor:
        """Of every draw, ``(draws, N, K)``."""
        clean = self._carried.clean
        if clean is None:
            clean = self._carried.clean = self._clean_pass()
        else:
            # A new side has to see some samples and answers before it can be asked.
            with torch.no_grad():
                self.side.clean(self.samples.inputs[:_SEEN])
        self._lowest, self._highest = clean.lowest, clean.highest
        return self.side.settle(clean.logits)

    def _clean_pass(self) -> CleanPass:
        answers, lowest, highest = [], [], []
        with torch.no_grad():
            for inputs in self.samples.chunks():
                seen, logits = self.side.clean(inputs)
                lowest.append(seen.amin(dim=0))
                highest.append(seen.amax(dim=0))
                answers.append(logits)
        return CleanPass(
            torch.cat(answers, dim=1),
            torch.stack(lowest).amin(dim=0),
            torch.stack(highest).amax(dim=0),
        )


class Retirement:
    """Watches one search on one arm's side: a sample retires in the step that beats it.

    Args:
        arm: Judges every iterate; None where the search is not judged step by step.
        rows: The samples searched, by their place among all.
        to_the_end: Which of them go on to the last step all the same, as a mask.
        tallies: Count the gradients at the start.
        inputs: Where examples are kept: starts as the originals of `rows`.
        certain: Whether enough is known, so that the whole search may end.

    Attributes:
        ended: Whether it ended so, in its middle.
        beaten: Which of `rows` were beaten, and by which of `examples`.
    """

    def __init__(
        self,
        arm: RunningArm | None,
        rows: Tensor,
        to_the_end: Tensor,
        tallies: list[GradientTally],
        inputs: Tensor,
        certain: Callable[[], bool],
    ) -> None:
        self._certain, self.ended = certain, False
        self.rows = rows
        self._arm, self._to_the_end, self._tallies = arm, to_the_end, tallies
        self.beaten = torch.zeros_like(to_the_end)
        self.examples = inputs.clone()

    def retired(self, rows: Tensor, iterates: Tensor, logits: Tensor | None) -> Tensor:
        if self._arm is None:
            return torch.zeros_like(rows, dtype=torch.bool)
        places = self.rows[rows]
        wanted = self._arm.open(places).nonzero().flatten()
        said = None if logits is None else logits[wanted]
        accepted = wanted[self._arm.judge(places[wanted], iterates[wanted], said)]
        self.ended = len(accepted) > 0 and self._certain()
        if self.ended:
            return torch.ones_like(rows, dtype=torch.bool)
        self.beaten[rows[accepted]] = True
        self.examples[rows[accepted]] = iterates[accepted]
        return ~self._arm.open(places) & ~self._to_the_end[rows]

    def saw_gradients(self, rows: Tensor, gradients: Tensor) -> None:
        for tally in self._tallies:
            tally.add(gradients)

    def saw_answers(self, rows: Tensor) -> None:
        if self._arm is not None:
            self._arm.answered(self.rows[rows])
