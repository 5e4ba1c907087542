"""An attack without a budget, which sees where it goes or proves nothing."""

from dataclasses import replace

import torch
from torch import Tensor

from pytest_aerobust.attacks.build import build_attack
from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.counterexamples.verification import Ball, correct, verify
from pytest_aerobust.evidence.inquiry import Finding, Inquiry
from pytest_aerobust.evidence.tallies import FEWEST
from pytest_aerobust.evidence.trial import Trial
from pytest_aerobust.subjects.pipeline import Classifier

# What such a search may leave (undefended and adversarially trained models: 0).
_LEFT = 0.05
_SAMPLES, _STEPS = 64, 20


def unbounded(inquiry: Inquiry) -> Finding:
    """``unbounded``: PGD of 20 steps with the whole range of the data as its budget.

    Without a budget the attacker may turn an input into any other, so a search that sees where
    it goes beats everybody. Void where it leaves more than 5 % of 64 samples, and three (Carlini
    et al. 2019, section 4.2; Athalye, Carlini & Wagner 2018, section 3.1). Costs 61 forward
    passes for each of them, less where they fall early, once a contract. It uses
    gradients whatever the contract's own attack, so it is skipped where the attacker follows
    none; also where features may not change.
    """
    if not inquiry.followed:
        return Finding("skipped", f"{inquiry.attack} follows no gradients")
    if inquiry.arm.ball.bounds.mutable is not None:
        return Finding("skipped", "features may not change, so no budget reaches every input")
    beaten = torch.cat([_beaten(side, inquiry) for side in inquiry.followed])
    left, attacked = int((~beaten).sum()), len(beaten)
    words = f"with the whole range as budget PGD leaves {left} of {attacked} samples"
    if left < FEWEST or left <= _LEFT * attacked:
        return Finding("sound", words)
    return Finding(
        "void",
        f"{words} (expected at most {_LEFT:.0%}), so gradients do not show the way: this is no "
        "evidence of robustness. For a filter try filter_gradient='identity', for anything an "
        "attack without gradients (threat='black-box', such as square)",
    )


def _beaten(side: Classifier, inquiry: Inquiry) -> Tensor:
    """Whom the search beats of some samples; whoever is left gets a second, random start."""
    problem = _right_on(side, inquiry)
    low, high = problem.bounds.hull
    ball = Ball("linf", high - low, problem.bounds)

    def judged(places: Tensor, candidates: Tensor) -> Tensor:
        originals, labels = problem.inputs[places], problem.labels[places]
        return verify(side, originals, candidates, labels, None, ball).adversarial

    watch = Trial(problem.labels, judged)
    for random_start in (False, True):
        pgd = build_attack(chosen("pgd", "linf", _STEPS, {"random_start": random_start}))
        if not watch.beaten.all():
            with side.resumed():
                pgd.search(replace(problem, eps=ball.eps), watch)
    return watch.beaten


def _right_on(side: Classifier, inquiry: Inquiry) -> Problem:
    """Some samples that a side is right on, untargeted and as they came.

    The finding is kept for contracts that disturb them otherwise, or not at all.
    """
    samples = inquiry.arm.clean
    everyone = torch.arange(len(samples), device=samples.labels.device)
    rows = inquiry.some(everyone, _SAMPLES)
    with torch.no_grad():
        right = correct(side(samples.inputs[rows]), samples.labels[rows])
    rows = rows[right]
    return replace(inquiry.problem(side, rows), inputs=samples.inputs[rows], targets=None)
