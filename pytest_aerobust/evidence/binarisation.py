"""A problem with a known answer, put to the contract's own attack."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.attacks.search import Problem
from pytest_aerobust.evidence.inquiry import Finding, Inquiry
from pytest_aerobust.evidence.tallies import FEWEST
from pytest_aerobust.evidence.trial import Trial
from pytest_aerobust.subjects.randomness import Use, sample_generator

_PROBLEMS = 20
# Points that must stay where they are, within half the budget, and tries for one that must not.
_INNER, _TRIES = 60, 8
# The authors ask of a working attack that it solves this share.
_SOLVED = 0.95


def binarisation(inquiry: Inquiry) -> Finding:
    """``binarisation``: attacks on problems that are known to have a solution.

    For each of 20 samples a linear read-out of the logits tells one random point on the border
    of the ball from the sample and 60 random points within half the budget. An adversarial
    example then exists, and the contract's own attack has to find one. Void where it misses more
    than 5 %, and three (Zimmermann et al. 2022, "Increasing Confidence in Adversarial Robustness
    Evaluations", section 4, with logits as features). Costs the attack again for 20 samples, one
    by one.
    """
    if inquiry.blind is not None:
        return inquiry.blind
    ball = inquiry.arm.ball
    if ball.norm not in ("linf", "l2"):
        return Finding("skipped", f"points on the border are drawn in Linf and L2, not {ball.norm}")
    rows = inquiry.some(inquiry.arm.outcomes.attacked(), _PROBLEMS)
    told = [_solved(inquiry, row) for row in torch.split(rows, 1)]
    solved, posed = told.count(True), len(told) - told.count(None)
    words = f"{inquiry.attack} solves {solved} of {posed} problems that have a solution"
    if not posed:
        return Finding("skipped", "no read-out of the logits tells points of the ball apart")
    if posed - solved < FEWEST or solved >= _SOLVED * posed:
        return Finding("sound", words)
    return Finding(
        "void",
        f"{words} (expected at least {_SOLVED:.0%}): what it does not find need not be absent. "
        "Take more steps, or attack='worst-case'",
    )


def _solved(inquiry: Inquiry, row: Tensor) -> bool | None:
    """Whether the attack finds the example that exists; None where no problem could be posed."""
    problem = inquiry.problem(inquiry.arm.side, row)
    readout = _readout(problem, inquiry.arm.ball.norm)
    if readout is None:
        return None
    posed = replace(
        problem,
        ask=_behind(problem.ask, *readout),
        labels=torch.zeros_like(problem.labels),
        targets=None,
    )

    def judged(places: Tensor, candidates: Tensor) -> Tensor:
        inside = inquiry.arm.ball.holds(posed.inputs[places], candidates)
        with torch.no_grad():
            return inside & (posed.ask(candidates)[:, 1] > 0)

    watch = Trial(posed.labels, judged)
    inquiry.search.search(posed, watch)
    return bool(watch.beaten.all())


def _behind(
    ask: Callable[[Tensor], Tensor], weights: Tensor, bias: Tensor
) -> Callable[..., Tensor]:
    """Two logits, 0 and the read-out."""

    def asked(inputs: Tensor) -> Tensor:
        score = ask(inputs) @ weights + bias
        return torch.stack([torch.zeros_like(score), score], dim=1)

    return asked


def _readout(problem: Problem, norm: str) -> tuple[Tensor, Tensor] | None:
    """Weights and bias that are below 0 at the inner points and above it at one of the border."""
    draw = sample_generator(problem.seed, int(problem.samples[0]), Use.PROBLEM)
    inner = _around(problem, draw, norm, _INNER) * 0.5
    border = _around(problem, draw, norm, _TRIES)
    moves = torch.cat([torch.zeros_like(inner[:1]), inner, border])
    with torch.no_grad():
        low, high = problem.box(torch.zeros_like(problem.labels))
        logits = problem.ask((problem.inputs + problem.eps * moves).clamp(low, high))
    features = logits.double().cpu().numpy()
    centre, scale = features[0], np.abs(features - features[0]).max()
    if not scale > 0:
        return None
    units = (features - centre) / scale
    within, outside = units[: _INNER + 1], units[_INNER + 1 :]
    found = next(filter(None, (_separated(within, point) for point in outside)), None)
    if found is None:
        return None
    weights, bias = found
    told = torch.as_tensor(weights / scale), torch.as_tensor(bias - weights @ centre / scale)
    return told[0].to(logits), told[1].to(logits)


def _separated(within: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The widest gap between the inner points and one other, as a linear programme."""
    from scipy.optimize import linprog  # long to load, and only a thorough run needs it

    size = within.shape[1]
    # Variables: weights in [-1, 1], bias, half the gap.
    above = np.append(-point, [-1.0, 1.0])
    below = np.hstack([within, np.ones((len(within), 2))])
    solved = linprog(
        np.append(np.zeros(size + 1), -1.0),
        A_ub=np.vstack([above, below]),
        b_ub=np.zeros(len(within) + 1),
        bounds=[(-1, 1)] * size + [(None, None), (0, None)],
    )
    if not solved.success or solved.x[-1] <= 1e-6:
        return None
    return solved.x[:size], float(solved.x[size])


def _around(problem: Problem, draw: np.random.Generator, norm: str, count: int) -> Tensor:
    """Random directions of unit length ``(count, ...)``."""
    shape = (count, *problem.inputs.shape[1:])
    directions = draw.standard_normal((count, problem.inputs[0].numel()))
    if norm == "linf":
        directions = np.sign(directions)
    else:
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return torch.as_tensor(directions.reshape(shape)).to(problem.inputs)
