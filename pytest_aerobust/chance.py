"""What is wrong before any attack: accuracies that guessing reaches, and their usual causes."""

from collections import Counter
from math import sqrt

from pytest_aerobust.results import Arm, Evaluation

# Standard deviations above the share of the commonest class that guessing may still reach.
_SPREAD = 3


def no_better_than_chance(arm: Arm) -> bool:
    """Whether naming classes blindly would be right about as often, before any attack.

    False where the arm holds no confusion matrix, as while it is still measured.
    """
    counts: Counter[int] = Counter()
    for actual, _, count in arm.clean_confusion:
        counts[actual] += count
    if not counts:
        return False
    commonest = max(counts.values()) / arm.samples
    spread = sqrt(commonest * (1 - commonest) / arm.samples)
    return arm.clean_accuracy <= min(commonest + _SPREAD * spread, (1 + commonest) / 2)


def usual_causes(evaluation: Evaluation) -> str:
    """Why the pipeline is no better than chance, as questions; empty where it is."""
    if not no_better_than_chance(evaluation.pipeline):
        return ""
    bare = evaluation.unfiltered
    if evaluation.filtered is not None and not no_better_than_chance(bare):
        return (
            f"no better than chance, while it is {bare.clean_accuracy:.3f} without the filter: is "
            "the filter trained, and on the scale of these inputs?"
        )
    return (
        "no better than chance: are the inputs normalised as in training (mean=, std=) and in its "
        "range and channel order, the labels in the model's order, the weights loaded?"
    )
