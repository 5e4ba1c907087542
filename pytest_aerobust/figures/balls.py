"""Whether adversarial examples belong to the evaluation whose budget stands in a figure's title."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pytest_aerobust.contract.arguments import Bounds
from pytest_aerobust.counterexamples.collector import Counterexample
from pytest_aerobust.counterexamples.verification import Ball
from pytest_aerobust.errors import ContractError
from pytest_aerobust.results.evaluation import Evaluation
from pytest_aerobust.subjects.box import Box
from pytest_aerobust.subjects.data import ROUNDING, Samples
from pytest_aerobust.subjects.disturbing import disturbed

_CHUNK = 256
# Share of eps that the outputs of a filter may be off by, where they were computed once more.
_AGAIN = 1e-3


def clipped(inputs: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Inputs as an evaluation with these bounds takes them: what left them by rounding is clipped.

    Inputs that lie farther outside it refuses, so it had other bounds, and these are those of the
    colours alone.
    """
    low, high = bounds
    slack = ROUNDING * (high - low)
    outside = inputs.size and (inputs.min() < low - slack or inputs.max() > high + slack)
    return inputs if outside else inputs.clip(low, high)


def attacked_inputs(
    examples: Sequence[Counterexample],
    inputs: np.ndarray,
    evaluation: Evaluation | None,
    bounds: Bounds,
) -> np.ndarray:
    """What the attacker started from, ``(n, ...)``: the examples' inputs after all disturbances.

    Args:
        examples: Of one arm.
        inputs: The data that was evaluated ``(N, ...)``.
        evaluation: Says what happened to the inputs; None where nobody knows.
        bounds: Smallest and largest value of an input.
    """
    numbers = [example.sample for example in examples]
    if evaluation is None or not evaluation.disturbances:
        return inputs[numbers]
    ids, own = torch.tensor(numbers), examples[0].adversarial.dtype
    samples = Samples(torch.as_tensor(inputs[numbers]).to(own), torch.zeros_like(ids), ids)
    box = Box.of(bounds)
    return disturbed(samples, evaluation.disturbances, box, evaluation.seed).inputs.numpy()


def check_ball(
    examples: Sequence[Counterexample],
    inputs: np.ndarray,
    evaluation: Evaluation,
    bounds: Bounds,
) -> None:
    """Refuse examples that an evaluation's attacker could not have made.

    Args:
        examples: Of one arm.
        inputs: The data that was evaluated ``(N, ...)``.
        evaluation: Has norm and budget.
        bounds: Smallest and largest value of an input.

    Raises:
        ContractError: One lies outside the ball by more than verification allows for rounding.
    """
    norm, eps = evaluation.norm, evaluation.eps
    # What a filter puts out is not the same to the last bit when it is asked again.
    radius = eps * (1 + _AGAIN) if evaluation.threat == "behind-filter" else eps
    for start in range(0, len(examples), _CHUNK):
        part = examples[start : start + _CHUNK]
        candidates = torch.stack([example.adversarial for example in part])
        origins = torch.as_tensor(attacked_inputs(part, inputs, evaluation, bounds)).to(candidates)
        ball = Ball(norm, radius, _around(bounds, origins, candidates))
        outside = ~ball.holds(origins, candidates)
        if outside.any():
            far = ball.distances(origins, candidates)[outside]
            raise ContractError(
                f"the example of sample {part[int(outside.nonzero()[0])].sample} lies "
                f"{far[0].item():.4g} ({norm}) from its input, outside the ball of the evaluation "
                f"in the title (eps={eps:.4g}): give the examples that were kept of this "
                "evaluation (on_examples= of the same evaluate(...)), the inputs that it "
                f"attacked and its bounds=, to which disturbances were clipped (here "
                f"({bounds[0]:g}, {bounds[1]:g})); under threat='behind-filter' the inputs are the "
                "filter's outputs"
            )


def _around(bounds: Bounds, *samples: Tensor) -> Box:
    """Bounds that hold the samples, too: a figure's are those of its colours alone."""
    values = torch.cat([part.flatten().double() for part in samples])
    lowest, highest = min(bounds[0], values.min().item()), max(bounds[1], values.max().item())
    return Box(*(torch.tensor(end, dtype=torch.float64) for end in (lowest, highest)))
