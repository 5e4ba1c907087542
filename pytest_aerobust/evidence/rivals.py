"""The attack against rivals that should be weaker, on the same samples.

Where a rival finds more, the attack's search is broken, and what it left standing proves nothing.
Witnesses of rivals are verified as always. They enter an accuracy only where the contract's
attacker could have made them: noise, and what the same attack crafts on the bare model.
"""

from dataclasses import replace
from math import ceil

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.attacks.build import build_attack
from pytest_aerobust.attacks.search import Problem, Search
from pytest_aerobust.contract.attack import chosen
from pytest_aerobust.contract.catalogue import find
from pytest_aerobust.counterexamples.verification import Ball
from pytest_aerobust.evidence.inquiry import AttackedArm, Finding, Inquiry
from pytest_aerobust.evidence.tallies import FEWEST
from pytest_aerobust.evidence.trial import ToTheEnd, Trial
from pytest_aerobust.subjects.randomness import Use, sample_generator

# A rival that beats this share of the samples more than the attack, and three, is the better one.
_SPEAKS = 0.005
# The same for twice the steps: Carlini et al. 2019 ask for less than a point.
_CONVERGED = 0.01
_QUERIES, _ASKED_ABOUT = 500, 64


def noise(inquiry: Inquiry) -> Finding:
    """``noise``: one random direction of the whole budget for each sample.

    Void where it beats more samples than the attack: by three or half a percent, whichever is
    more (Carlini et al. 2019, section 4.3: nothing may be weaker than noise). Costs a forward
    pass for each sample; it may spend a quarter of the allowance. What noise finds counts.
    """
    ball = inquiry.arm.ball
    if ball.norm == "l0":
        return Finding("skipped", "noise of the same number of features is no natural rival in L0")
    if "noise" in inquiry.attack.lower():
        return Finding("skipped", f"{inquiry.attack} is noise itself")
    rows = inquiry.drawn(1, 0.25)
    problem = inquiry.problem(inquiry.arm.side, rows)
    candidates = _noisy(problem, ball)
    beaten = inquiry.arm.found(rows, candidates).adversarial
    finding = _compared(inquiry, rows, beaten, "random noise of the same budget")
    if inquiry.followed:  # of an attacker who only asks, each of these would be a query
        _count(inquiry.arm, rows[beaten], candidates[beaten])
    return finding


def one_step(inquiry: Inquiry) -> Finding:
    """``one step``: FGSM in the same ball.

    Void where it beats more samples than an attack of many steps, by three or half a percent
    (Athalye, Carlini & Wagner 2018, section 3.1). Costs a step for each sample; it may spend a
    seventh of the allowance.
    """
    if inquiry.blind is not None:
        return inquiry.blind
    if inquiry.arm.ball.norm not in ("linf", "l2"):
        return Finding("skipped", f"there is no one-step attack in {inquiry.arm.ball.norm}")
    rival = build_attack(chosen("fgsm", inquiry.choice.norm, None, None))
    cost = rival.passes or 1
    if (inquiry.search.passes or cost + 1) <= cost:
        return Finding("skipped", f"{inquiry.attack} itself takes one step")
    rows = inquiry.drawn(cost, 0.15)
    beaten = _searched(inquiry, rival, inquiry.problem(inquiry.arm.side, rows), rows)
    return _compared(inquiry, rows, beaten, "one step (fgsm)")


def nesting(inquiry: Inquiry) -> Finding:
    """``nesting``: the same attack with half the budget.

    Every example in the smaller ball is one in the larger, so the search in the larger must find
    as many. Void where it finds fewer, by three samples or half a percent (Carlini et al. 2019,
    section 4.2; Kurakin et al. 2017 on label leaking). Costs the attack again for 6 % of the
    samples.
    """
    if inquiry.blind is not None:
        return inquiry.blind
    rows = inquiry.drawn(inquiry.search.passes or 1, 0.3)
    problem = inquiry.problem(inquiry.arm.side, rows)
    problem = replace(problem, eps=problem.eps / 2)
    beaten = _searched(inquiry, inquiry.search, problem, rows)
    return _compared(inquiry, rows, beaten, f"{inquiry.attack} with half the budget")


def transfer(inquiry: Inquiry) -> Finding:
    """``transfer``: the same attack, crafted on the bare model to its last step.

    Void where these examples beat more samples of the pipeline than the attack through it, by
    three or half a percent (Athalye, Carlini & Wagner 2018, section 3.1; AutoAttack warns from
    0.2 points on). Costs the attack again for 6 % of the samples. What transfers counts.
    """
    if inquiry.bare is None:
        return Finding("skipped", "there is no other model that examples could come from")
    rows = inquiry.drawn(inquiry.search.passes or 1, 0.3)
    ends = inquiry.search.search(inquiry.problem(inquiry.bare, rows), ToTheEnd())
    found = [inquiry.arm.found(rows, candidates).adversarial for candidates in ends]
    beaten = torch.stack(found).any(dim=0)
    rival = "what was crafted on the bare model, without knowing the filter,"
    finding = _compared(inquiry, rows, beaten, rival)
    for candidates, hits in zip(ends, found, strict=True):
        _count(inquiry.arm, rows[hits], candidates[hits])
    return finding


def doubling(inquiry: Inquiry) -> Finding:
    """``doubling``: the same attack with twice the steps.

    Void where it beats a point more of the samples, and three (Carlini et al. 2019, section 4.5:
    attacks must have converged). Costs the attack twice for 6 % of the samples.
    """
    if inquiry.blind is not None:
        return inquiry.blind
    taken = getattr(inquiry.search, "steps", None)
    if (
        inquiry.choice.ready is not None
        or "steps" not in inquiry.choice.spec.arguments
        or not taken
    ):
        return Finding("skipped", f"{inquiry.attack} has no steps to double")
    told = {**inquiry.choice.arguments, "steps": 2 * taken}
    rival = build_attack(replace(inquiry.choice, arguments=told))
    rows = inquiry.drawn(inquiry.search.passes or 1, 0.3)
    beaten = _searched(inquiry, rival, inquiry.problem(inquiry.arm.side, rows), rows)
    return _compared(inquiry, rows, beaten, f"{inquiry.attack} with {2 * taken} steps", _CONVERGED)


def black_box(inquiry: Inquiry) -> Finding:
    """``black-box``: Square, which asks for scores alone, 500 times for each of 64 samples.

    Void where it beats more of them than the attack with gradients, by three or half a percent
    (Carlini et al. 2019, section 4.4; AutoAttack warns from 0.2 points on). Costs 500 forward
    passes for each of the samples, less where they fall early.
    """
    if inquiry.blind is not None:
        return inquiry.blind
    if inquiry.choice.norm not in find("square").norms:
        return Finding("skipped", f"square has no norm {inquiry.choice.norm}")
    rival = build_attack(chosen("square", inquiry.choice.norm, _QUERIES, None))
    rows = inquiry.some(inquiry.arm.outcomes.attacked(), _ASKED_ABOUT)
    beaten = _searched(inquiry, rival, inquiry.problem(inquiry.arm.side, rows), rows)
    return _compared(
        inquiry, rows, beaten, f"square, which asks {_QUERIES} times for scores alone,"
    )


def _compared(
    inquiry: Inquiry, rows: Tensor, beaten: Tensor, rival: str, speaks: float = _SPEAKS
) -> Finding:
    """The rival against the attack itself, on the same samples."""
    own, theirs = int((~inquiry.survivors[rows]).sum()), int(beaten.sum())
    words = f"{rival} beats {theirs} of {len(rows)} samples, {inquiry.attack} {own}"
    if theirs - own < max(FEWEST, ceil(speaks * len(rows))):
        return Finding("sound", words)
    return Finding(
        "void",
        f"{words}: a search that misses these proves nothing by what it leaves. Take more or "
        "smaller steps (pgd), or attack='worst-case'",
    )


def _count(arm: AttackedArm, rows: Tensor, candidates: Tensor) -> None:
    """Witnesses that the contract's own attacker could have made."""
    fresh = arm.outcomes.survivors[rows]
    if fresh.any():
        arm.judge(rows[fresh], candidates[fresh])
        arm.outcomes.close(rows[fresh])


def _searched(inquiry: Inquiry, rival: Search, problem: Problem, rows: Tensor) -> Tensor:
    """Whom a rival beats, as a mask over `rows`; judged in the contract's own ball."""
    arm = inquiry.arm

    def judged(places: Tensor, candidates: Tensor) -> Tensor:
        return arm.found(rows[places], candidates).adversarial

    watch = Trial(problem.labels, judged)
    rival.search(problem, watch)
    return watch.beaten


def _noisy(problem: Problem, ball: Ball) -> Tensor:
    """Inputs moved by the whole budget in a random direction, each sample from its own stream."""
    size = problem.inputs[0].numel()
    draws = (sample_generator(problem.seed, int(sample), Use.NOISE) for sample in problem.samples)
    free = ball.bounds.mask(problem.inputs[0]).cpu().numpy()
    directions = np.zeros((len(problem.inputs), size))
    directions[:, free] = [
        _direction(draw.standard_normal(int(free.sum())), ball.norm) for draw in draws
    ]
    moves = torch.as_tensor(directions).to(problem.inputs).reshape_as(problem.inputs)
    low, high = problem.box(torch.arange(len(moves), device=moves.device))
    return (problem.inputs + problem.eps * moves).clamp(low, high)


def _direction(draw: np.ndarray, norm: str) -> np.ndarray:
    """A corner of the cube, or a point on the sphere."""
    order = {"l2": 2, "l1": 1}
    unit: np.ndarray = (
        np.sign(draw) if norm == "linf" else draw / np.linalg.norm(draw, ord=order[norm])
    )
    return unit
