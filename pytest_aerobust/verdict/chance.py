"""What is wrong before any attack: accuracies that guessing reaches, and their usual causes."""

from collections import Counter
from math import sqrt

from pytest_aerobust.results.arm import Arm
from pytest_aerobust.results.evaluation import Evaluation

# Standard deviations by which answers that have nothing to do with the labels may agree with them.
_SPREAD = 3
# Of the agreement that chance leaves to be had (Cohen's kappa): as little is none, however many
# samples show it, and as much is no chance, however few.
_LITTLE, _MUCH = 0.05, 0.5


def no_better_than_chance(arm: Arm) -> bool:
    """Whether the answers before any attack have as good as nothing to do with the labels.

    They are compared with the same answers dealt out to the samples at random, so the commonest
    class is no excuse and no suspicion. False where the arm holds no confusion matrix, as while
    it is still measured.
    """
    labels: Counter[int] = Counter()
    answers: Counter[int] = Counter()
    for label, answer, count in arm.clean_confusion:
        labels[label] += count
        answers[answer] += count
    total = labels.total()
    if total < 2:
        return False
    expected = sum(count * answers[label] for label, count in labels.items()) / total**2
    if expected == 1:
        return False
    kappa = (arm.clean_accuracy - expected) / (1 - expected)
    spread = _SPREAD * _deviation(labels, answers, expected) / (1 - expected)
    return kappa < min(max(spread, _LITTLE), _MUCH)


def _deviation(labels: Counter[int], answers: Counter[int], expected: float) -> float:
    """Standard deviation of the share of agreement over all ways to deal the answers out.

    Hoeffding 1951, "A combinatorial central limit theorem", equation 10.
    """
    total = labels.total()
    variance = 0.0
    for label, n in labels.items():
        for answer, m in answers.items():
            usual = (answers[label] + labels[answer]) / total - expected
            variance += n * m * ((label == answer) - usual) ** 2
    return sqrt(variance / (total - 1)) / total


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
