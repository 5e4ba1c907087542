"""Whether answers are no better than chance, before any attack."""

import random
from collections import Counter

import pytest

from pytest_aerobust.results.arm import Arm
from pytest_aerobust.verdict.chance import no_better_than_chance


def arm(labels, answers):
    """An arm that gave these answers to samples of these labels, before any attack."""
    right = [label == answer for label, answer in zip(labels, answers, strict=True)]
    counts = Counter(zip(labels, answers, strict=True))
    return Arm(
        "".join("s" if each else "-" for each in right),
        clean_confusion=tuple((*pair, count) for pair, count in counts.items()),
    )


# Labels, and answers of a model that has learnt something.
HONEST = {
    "half of a rare class": ([0] * 190 + [1] * 10, [0] * 189 + [1] + [1] * 5 + [0] * 5),
    "most of a rare class": ([0] * 190 + [1] * 10, [0] * 188 + [1] * 10 + [0] * 2),
    "nine of ten": ([0] * 100 + [1] * 100, [0] * 98 + [1] * 82 + [0] * 20),
    "fifteen of twenty": ([0] * 10 + [1] * 10, [0] * 8 + [1] * 9 + [0] * 3),
}


@pytest.mark.parametrize(("labels", "answers"), HONEST.values(), ids=HONEST)
def test_an_honest_model_is_better_than_chance(labels, answers):
    """Neither a rare class nor few samples make its answers those of a guess."""
    assert not no_better_than_chance(arm(labels, answers))


@pytest.mark.parametrize(
    ("labels", "answers"),
    [
        ([0] * 190 + [1] * 10, [0] * 200),
        ([0] * 190 + [1] * 10, [1] + [0] * 199),
        ([0, 1] * 50, [0, 0, 1, 1] * 25),
        ([0] * 500 + [1] * 500, [0] * 260 + [1] * 240 + [0] * 245 + [1] * 255),
        (list(range(10)) * 20, [(3 * k + 1) % 10 for k in range(10)] * 20),
    ],
    ids=["the commonest class", "nearly always", "a coin", "many coins", "another order"],
)
def test_guesses_are_not(labels, answers):
    """However often they are right."""
    assert no_better_than_chance(arm(labels, answers))


def test_dealt_out_at_random_is_chance():
    """The same answers, given to other samples, come within three standard deviations."""
    generator, labels = random.Random(0), [0] * 50 + [1] * 30 + [2] * 20
    answers = [0] * 45 + [1] * 30 + [2] * 25
    assert not no_better_than_chance(arm(labels, answers))
    said = []
    for _ in range(200):
        generator.shuffle(answers)
        said.append(no_better_than_chance(arm(labels, answers)))
    assert sum(said) >= 198
