"""One side of the comparison while it runs: what its answers make of candidates."""

import torch
from torch import Tensor

from pytest_aerobust.attacks.balls import aligned
from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.counterexamples.collector import OnExamples
from pytest_aerobust.counterexamples.rounding import CloseAnswers, Contest, Rounding
from pytest_aerobust.counterexamples.verification import Ball, Verification, verify
from pytest_aerobust.evidence.sanity import check_classes
from pytest_aerobust.evidence.tallies import MarginTally, Tallies, TieTally
from pytest_aerobust.measurement.carried import CarriedArm
from pytest_aerobust.measurement.clean import clean_pass
from pytest_aerobust.measurement.outcomes import Outcomes
from pytest_aerobust.results.evaluation import Memory, Queries
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.pipeline import Classifier

# Of the line from an original to its example: to a thousandth.
_HALVINGS = 10
# Examples of earlier runs that are verified at a time.
_TRIED = 256
# How much farther from its original a candidate is tried that a tie or rounding decides.
_FARTHER = 1e-3


class RunningArm:
    """One arm: asks its side about candidates, and enters what becomes of the samples.

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
        clean_pass: What the filter makes of them.
        logits: What the side says to them ``(N, K)``.
        outcomes: What becomes of each sample.
        tallies: What is counted on the way.
    """

    def __init__(
        self,
        name: str,
        side: Classifier,
        samples: Samples,
        ball: Ball,
        on_examples: OnExamples,
        carried: CarriedArm,
    ) -> None:
        self.name, self.side, self.ball = name, side, ball
        self.samples = self.clean = samples
        self._on_examples = on_examples
        self.clean_pass = carried.clean = clean_pass(side, samples, carried.clean)
        drawn = side.settle(self.clean_pass.logits)
        self.logits = drawn.mean(dim=0)
        check_classes(self.logits, samples, side.name)
        self._rounding = Rounding.of(side, samples.inputs, self.logits, ball.aside)
        self.outcomes = Outcomes(samples.labels, self.logits, ball.eps, carried)
        self._asked = torch.zeros_like(samples.labels)
        self.tallies = Tallies(
            margins=MarginTally(self.logits, samples.labels), ties=self._look_at_ties()
        )
        self.tallies.draws.saw_clean(drawn, samples.labels)

    def _look_at_ties(self) -> TieTally:
        """Enter of whom a tie or rounding decides whether they are right before any attack.

        An attacker may send a sample as it is, so who is right by a tie is undecided, too.
        """
        inputs = self.samples.inputs

        def aside(rows: Tensor) -> Tensor:
            return self.ball.aside(inputs[rows], inputs[rows])

        answers = CloseAnswers(self.side.judged, inputs, self.logits, aside, self._rounding)
        miss = answers.miss(self.samples.labels)
        self.outcomes.doubt(miss.open & self.outcomes.right, miss.open & ~miss.tied)
        return TieTally(miss.tied | miss.open)

    def disturb(self, samples: Samples) -> None:
        """Let attacks start from other inputs; who errs on those themselves is beaten.

        Nobody attacks the samples that a target leaves alone, but they are disturbed, too.
        """
        self.samples = samples
        with torch.no_grad():
            logits = torch.cat([self.side.judged(inputs) for inputs in samples.chunks()])
        self.tallies.margins = MarginTally(logits, samples.labels)
        self.outcomes.start_elsewhere()
        everyone = torch.arange(len(samples), device=samples.labels.device)
        exempt = self.outcomes.exempt
        doubtful = self._doubtful(logits, samples.labels)
        rows = everyone[(self.outcomes.open(everyone) | exempt) & doubtful]
        fallen = torch.zeros_like(exempt)
        for part in torch.split(rows, len(samples.chunks()[0])):
            fallen[part] = self._counted(part, samples.inputs[part])
        self.outcomes.fall(fallen, exempt)
        if not self.ball.eps:
            self.outcomes.close(everyone)

    def problem(
        self, side: Classifier, rows: Tensor, seed: int, queries: int | None = None
    ) -> Problem:
        """Attack `side` from this arm's inputs; under gray-box the side is not the arm's own."""
        samples, places, targets = self.samples, rows.cpu(), self.outcomes.targets
        return Problem(
            ask=side,
            gradient=self.ball.bounds.followed(side.gradient),
            inputs=samples.inputs[rows],
            labels=samples.labels[rows],
            targets=None if targets is None else targets[rows],
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
            self.tallies.margins.add(rows, logits)
        if claims.any():
            self.tallies.candidates.add(candidates[claims])
            accepted[claims] = self._counted(rows[claims], candidates[claims])
        return accepted

    def remember(self, rows: Tensor, examples: Tensor) -> Memory:
        """Try examples that earlier runs left, before any search of this one.

        Args:
            rows: Their samples.
            examples: One for each row.
        """
        outcomes = self.outcomes
        survived = outcomes.survivors[rows]  # where another measurement has attacked them
        wanted = survived | outcomes.open(rows)
        rows, examples = rows[wanted], examples[wanted].to(self.samples.inputs)
        for start in range(0, len(rows), _TRIED):
            part = rows[start : start + _TRIED]
            # Not judged as claims of the attack, which has made none of them.
            fell = part[self._counted(part, examples[start : start + _TRIED])]
            outcomes.remembered[fell] = True
        places = self.samples.ids[outcomes.remembered.cpu()].tolist()
        return Memory(len(rows), tuple(sorted(places)), attacked=bool(survived[wanted].all()))

    def _doubtful(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Whom the side errs on by its logits, or might on another machine, as a mask."""
        contest = Contest.of(logits, labels)
        return (contest.lost_by >= -self._rounding.least_lead(contest)) | self._rounding.stepped

    def found(self, rows: Tensor, candidates: Tensor) -> Verification:
        """What verification says of candidates for `rows`, without counting them."""
        originals, labels = self.samples.inputs[rows], self.samples.labels[rows]
        targets = None if self.outcomes.targets is None else self.outcomes.targets[rows]
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

    def _count(self, rows: Tensor, candidates: Tensor, found: Verification) -> None:
        """Enter what verification says of candidates for `rows`."""
        for near, aimed in ((found.undecided, False), (found.near_target, True)):
            if near.any():
                distances = self._distances(rows[near], candidates[near])
                self.outcomes.near(rows[near], distances, at_target=aimed)
        if not found.adversarial.any():
            return
        beaten, answers = rows[found.adversarial], found.answers[found.adversarial]
        examples, at_target = candidates[found.adversarial], found.at_target[found.adversarial]
        self.tallies.ties.add(rows[found.tied])
        self.outcomes.beat(beaten, answers, at_target)
        self.outcomes.learn(beaten, self._distances(beaten, examples), answers, at_target)
        self._look_at_draws(examples, self.samples.labels[beaten])
        numbers = self.samples.ids[beaten.cpu()].numpy()
        self._on_examples(self.name, numbers, examples, answers.cpu().numpy())

    def _distances(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Budgets whose balls hold candidates; what rounding adds to eps is no distance."""
        distances = self.ball.distances(self.samples.inputs[rows], candidates)
        return distances.clamp_max(self.ball.eps).cpu()

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
            distances = self._distances(rows[held], points[held])
            self.outcomes.learn(rows[held], distances, found.answers[held], found.at_target[held])
        self.outcomes.learn_minimum(rows)

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
                self.tallies.draws.saw_examples(self.side.singles(examples), labels)
