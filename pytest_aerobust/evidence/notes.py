"""Notes: what a reader should know of a setting, though it voids nothing."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from pytest_aerobust.contract.catalogue import ORDERS
from pytest_aerobust.counterexamples.verification import Ball
from pytest_aerobust.results.arm import Arm
from pytest_aerobust.results.evaluation import Regression

# Steps that together can't cross the ball leave most of it unsearched.
_SHORT_TRAVEL = 1.0
# A budget below this share of the bounds is probably meant in other units.
_TINY_BUDGET = 1e-3
# Undecided samples that a note names before it only counts the rest.
_NAMED = 10


def setting_notes(attack: str, ball: Ball, sample: Tensor, travel: float | None) -> tuple[str, ...]:
    """What a reader should know about a budget and the strength of an attack.

    Args:
        attack: Its name.
        ball: Norm, budget and bounds.
        sample: One input.
        travel: How far all steps move, in multiples of eps; None where unknown.
    """
    eps, spans = ball.eps, ball.bounds.spans(sample).double()
    diameter = torch.linalg.vector_norm(spans, ord=ORDERS[ball.norm]).item()
    span = spans[spans > 0].min().item()
    notes = []
    if eps == 0:
        notes.append("eps=0 leaves the attacker nothing: the accuracies are the clean ones")
    elif eps < _TINY_BUDGET * span:
        notes.append(
            f"eps={eps:g} is under a thousandth of the bounds' span {span:g}: is it in the units "
            "of the data?"
        )
    if eps > diameter:
        notes.append(
            f"eps={eps:g} is larger than the bounds' span {diameter:g} ({ball.norm}): the attacker "
            "may replace the whole input"
        )
    if travel is not None and travel < _SHORT_TRAVEL:
        notes.append(
            f"weak attack: all steps of {attack} together move {travel:.2f} eps; take more "
            "steps or larger ones (2 to 2.5 eps are usual)"
        )
    return tuple(notes)


def vacuous_notes(floors: Mapping[str, Fraction], labels: Tensor) -> tuple[str, ...]:
    """Floors, by name, that a classifier without any skill holds."""
    majority = Fraction(int(labels.bincount().max()), len(labels))
    unskilled = {
        "min_acc": majority,
        "min_clean_acc": majority,
        "max_drop": Fraction(1),
        "max_regression": Fraction(1),
        "max_target_hits": Fraction(1),
        "min_gain": Fraction(-1),
    }
    reasons = {
        "min_acc": f"always answering the commonest class gives {float(majority):.2f}",
        "min_clean_acc": f"always answering the commonest class gives {float(majority):.2f}",
    }
    return tuple(
        f"{name}={float(floor):g} is vacuous: {reasons.get(name, 'nothing can break it')}"
        for name, floor in floors.items()
        if (floor <= unskilled[name] if name.startswith("min") else floor >= unskilled[name])
    )


def exempt_notes(floors: Mapping[str, Fraction], arm: Arm) -> tuple[str, ...]:
    """Floors that hold whatever the attack does, since target= leaves enough samples alone."""
    share = Fraction(arm.exempt, arm.samples)
    held = {
        "min_acc": 0 < floors.get("min_acc", Fraction(0)) <= share,
        "max_drop": 1 > floors.get("max_drop", Fraction(1)) >= 1 - share,
    }
    return tuple(
        f"{name}={float(floor):g} is vacuous: {float(share):.2f} of the samples are right and not "
        "attacked, because target= sends their classes nowhere; state max_target_hits, or draw "
        "the data from the classes that are attacked"
        for name, floor in floors.items()
        if held.get(name)
    )


def baseline_notes(
    floors: Mapping[str, Fraction], regression: Regression | None
) -> tuple[str, ...]:
    """A floor against the baseline that other floors hide."""
    if regression is None or regression.status not in ("new", "stale") or len(floors) < 2:
        return ()
    return (
        f"max_regression is not checked: {regression.status}, {regression.reason}; store it with "
        "--aerobust-update",
    )


def undecided_notes(arm: str, places: Sequence[int], samples: int) -> tuple[str, ...]:
    """Which samples count on both sides.

    Args:
        arm: Whose.
        places: Their places in the data, sorted.
        samples: How many samples there are.
    """
    if not places:
        return ()
    named = ", ".join(map(str, places[:_NAMED]))
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return (
        f"{arm}: {len(places)} of {samples} samples are undecided, since a tie of logits or their "
        f"rounding decides whether they are right or beaten: {named}{more}. They count on both "
        "sides, as what may stand and what may fall on another machine",
    )


def count_note(samples: int) -> tuple[str, ...]:
    """How little a small sample set says of the population behind it."""
    if samples >= 100:
        return ()
    return (f"only {samples} samples: the accuracy of other draws may differ by 0.1 and more",)
