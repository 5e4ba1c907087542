"""The worst of the adversarial examples that a measurement found, ready to be stored.

Every example inside the ball is as legal as any other, so the worst are those where the pipeline
is most wrong: where the logit of a wrong class leads that of the label by most, those at the
target first where the attacker has one. They are also the last that the rounding of another
machine would undo.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version

import torch
from torch import Tensor

from pytest_aerobust.contract.contract import Contract
from pytest_aerobust.counterexamples.collector import Counterexamples
from pytest_aerobust.counterexamples.files import Example, Note, Saved
from pytest_aerobust.counterexamples.rounding import UNKNOWN, Rounding
from pytest_aerobust.counterexamples.verification import Ball, verify
from pytest_aerobust.results.arm import WRONG
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.subjects.data import Samples
from pytest_aerobust.subjects.disturbing import disturbed
from pytest_aerobust.subjects.pipeline import Classifier
from pytest_aerobust.subjects.randomness import isolated
from pytest_aerobust.subjects.subject import Sides, Subject, behind_filter, judged_side
from pytest_aerobust.verdict.judge import Verdict
from pytest_aerobust.verdict.words import headline

MOST = 16
# Whose versions a stored example names.
_PACKAGES = ("pytest-aerobust", "torch", "foolbox")
# Examples asked at a time, and bytes of the three images of each that a file may take.
_CHUNK = 256
_MOST_BYTES = 2**30


@dataclass(frozen=True)
class _Judge:
    """What an arm judges, with the samples and the ball that its attacker had."""

    side: Classifier
    samples: Samples
    ball: Ball
    targets: Tensor
    rounding: Rounding = UNKNOWN


@dataclass(frozen=True)
class _Claims:
    """Adversarial inputs ``(n, ...)`` of samples, by their places among those measured."""

    rows: Tensor
    adversarial: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, wanted: Tensor) -> "_Claims":
        return _Claims(self.rows[wanted], self.adversarial[wanted])


def worst_cases(
    subject: Subject,
    contract: Contract,
    evaluation: Evaluation,
    verdict: Verdict,
    kept: Counterexamples,
    *,
    test: str,
    device: str | None,
) -> Saved | None:
    """At most 16 of the pipeline's adversarial examples, the worst first.

    Where there are none, because mistakes on clean inputs alone broke the floor, those mistakes
    take their place: each is inside the ball, at distance 0. Every example is verified once more,
    in the batch in which it is stored and will be replayed.

    Args:
        subject: What was measured.
        contract: What was demanded of it.
        evaluation: What was found.
        verdict: What that means.
        kept: Every verified example of the pipeline's arm.
        test: The test's id.
        device: Where to run; None stays where the model is.

    Returns:
        None where no input is misclassified (a floor on a difference can break without).
    """
    with isolated(evaluation.seed), subject.borrowed(device) as sides, torch.no_grad():
        judge = _judge(
            sides, Ball(contract.attack.norm, evaluation.eps, subject.bounds), evaluation
        )
        # What the answers are shows in the clean pass of all samples, here as in the run.
        clean = [judge.side.clean(inputs)[1] for inputs in judge.samples.chunks()]
        answers = judge.side.settle(torch.cat(clean, dim=1)).mean(dim=0)
        rounding = Rounding.of(judge.side, judge.samples.inputs, answers, judge.ball.aside)
        judge = replace(judge, rounding=rounding)
        claims = _settled(judge, _most_wrong(judge, _claims(judge, evaluation, kept)))
        if not len(claims):
            return None
        logits = judge.side.judged(claims.adversarial)
        told = _note(test, contract, evaluation, verdict, judge, claims, logits)
        asked = judge.side is sides.pipeline
        return Saved(
            note=told,
            inputs=judge.samples.inputs[claims.rows],
            adversarial=claims.adversarial,
            filtered=judge.side.filtered(claims.adversarial) if asked else None,
            labels=judge.samples.labels[claims.rows],
            answers=logits.argmax(dim=1),
            samples=judge.samples.ids[claims.rows.cpu()],
        )


def _judge(sides: Sides, ball: Ball, evaluation: Evaluation) -> _Judge:
    samples = sides.samples
    if evaluation.threat == "behind-filter" and sides.pipeline is not None:
        samples, reach = behind_filter(sides.pipeline, samples, ball.bounds)
        ball = replace(ball, bounds=reach)
    if evaluation.disturbances:
        samples = disturbed(samples, evaluation.disturbances, ball.bounds, evaluation.seed)
    wanted = evaluation.targets or (None,) * int(samples.labels.max() + 1)
    table = torch.tensor([-1 if target is None else target for target in wanted])
    return _Judge(
        side=judged_side(sides, evaluation.threat),
        samples=samples,
        ball=ball,
        targets=table.to(samples.labels)[samples.labels],
    )


def _claims(judge: _Judge, evaluation: Evaluation, kept: Counterexamples) -> Iterator[_Claims]:
    """What may be stored, a chunk at a time: examples, or else the mistakes on clean inputs."""
    inputs = judge.samples.inputs
    places = {number: row for row, number in enumerate(judge.samples.ids.tolist())}
    arm = "unfiltered" if evaluation.filtered is None else "filtered"
    found, held = kept.of(arm), False
    for start in range(0, len(found), _CHUNK):
        part = found[start : start + _CHUNK]
        rows = torch.tensor([places[each.sample] for each in part], device=inputs.device)
        claims = _Claims(rows, torch.stack([each.adversarial for each in part]).to(inputs))
        # Some may have been found in the ball of a larger budget.
        claims = claims.of(judge.ball.holds(inputs[rows], claims.adversarial))
        held = held or len(claims) > 0
        yield claims
    outcomes = evaluation.pipeline.outcomes
    wrong = [] if held else [row for row, letter in enumerate(outcomes) if letter == WRONG]
    for start in range(0, len(wrong), _CHUNK):
        rows = torch.tensor(wrong[start : start + _CHUNK], device=inputs.device)
        yield _Claims(rows, inputs[rows])


def _most_wrong(judge: _Judge, parts: Iterator[_Claims]) -> _Claims:
    inputs = judge.samples.inputs
    best = _Claims(torch.zeros(0, dtype=torch.int64, device=inputs.device), inputs[:0])
    size = 3 * inputs[0].numel() * inputs.element_size()
    most = max(1, min(MOST, _MOST_BYTES // size))
    for part in parts:
        both = _Claims(
            torch.cat([best.rows, part.rows]), torch.cat([best.adversarial, part.adversarial])
        )
        best = both.of(_ranking(judge, both)[:most])
    return best


def _ranking(judge: _Judge, claims: _Claims) -> Tensor:
    """Their order, the most wrong first; of equals the first in the data."""
    logits = judge.side.judged(claims.adversarial)
    labels, targets = judge.samples.labels[claims.rows], judge.targets[claims.rows]
    own = logits.gather(1, labels[:, None]).squeeze(1)
    lead = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1) - own
    aside = logits.argmax(dim=1) != targets
    keys = zip(aside.tolist(), (-lead).tolist(), claims.rows.tolist(), strict=True)
    order = [place for _, place in sorted((key, place) for place, key in enumerate(keys))]
    return torch.tensor(order, device=logits.device)


def _settled(judge: _Judge, claims: _Claims) -> _Claims:
    """Those that hold in each other's company."""
    while len(claims):
        originals, labels = judge.samples.inputs[claims.rows], judge.samples.labels[claims.rows]
        found = verify(
            judge.side.judged,
            originals,
            claims.adversarial,
            labels,
            None,
            judge.ball,
            judge.rounding,
        )
        if found.adversarial.all():
            break
        claims = claims.of(found.adversarial)
    return claims


def _note(
    test: str,
    contract: Contract,
    evaluation: Evaluation,
    verdict: Verdict,
    judge: _Judge,
    claims: _Claims,
    logits: Tensor,
) -> Note:
    bounds, mutable = judge.ball.bounds.arguments
    # An arm may have more classes than the evaluation names.
    names = (*evaluation.classes, *map(str, range(len(evaluation.classes), logits.shape[1])))
    return Note(
        test=test,
        headline=headline(verdict, evaluation),
        floors={check.name: float(check.floor) for check in verdict.checks},
        **evaluation.stated,
        arm="unfiltered" if evaluation.filtered is None else "filtered",
        bounds=bounds,
        mutable=mutable,
        mean=contract.mean,
        std=contract.std,
        draws=contract.eot or 1,
        classes=names,
        versions={name: version(name) for name in _PACKAGES},
        examples=tuple(_rows(judge, claims, logits, names)),
    )


def _rows(
    judge: _Judge, claims: _Claims, logits: Tensor, names: tuple[str, ...]
) -> Iterator[Example]:
    originals, labels = judge.samples.inputs[claims.rows], judge.samples.labels[claims.rows]
    clean = judge.side.judged(originals)
    columns = (
        judge.samples.ids[claims.rows.cpu()],
        labels,
        clean.argmax(dim=1),
        logits.argmax(dim=1),
        judge.ball.distances(originals, claims.adversarial),
    )
    for number, label, before, after, distance in zip(*(c.tolist() for c in columns), strict=True):
        yield Example(number, names[label], names[before], names[after], distance)
