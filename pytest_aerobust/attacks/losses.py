"""What an attacker raises: losses of logits, one number a sample.

Each takes logits ``(n, K)``, the true classes ``(n,)`` and the attacker's targets ``(n,)`` or
None, and gives ``(n,)``. Without targets a loss grows as the true class loses; with them, as
the target wins, and the true classes play no part.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

# Logits that are all but tied would divide by nothing.
_LEAST_SPREAD = 1e-12


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Cross entropy of the true class, or what is below 0 for that of the target."""
    if targets is None:
        return F.cross_entropy(logits, labels, reduction="none")
    return -F.cross_entropy(logits, targets, reduction="none")


def margin(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """The best other logit minus the true one, or the target's minus the best other.

    Above 0 exactly where the attacker has won; a tie is 0.
    """
    if targets is None:
        return best_other(logits, labels) - picked(logits, labels)
    return picked(logits, targets) - best_other(logits, targets)


def dlr(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Difference of logits ratio: the margin, in units of the spread of the largest logits.

    Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks", equation 6, with the sign of an attacker's gain; with targets the
    same with the spread of equation 7, so that a class that the spread is measured by can be the
    target. Shifting or scaling the logits changes nothing. Where there are too few classes for a
    spread (3, with targets 4), the margin takes its place.
    """
    if targets is not None:
        return _ratio(margin(logits, labels, targets), logits, _spread_of_four)
    return _ratio(margin(logits, labels), logits, _spread_of_three)


def towards(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Targeted DLR, Croce & Hein 2020, equation 7: from the true class to one other, the target.

    Unlike :func:`dlr` with targets it does not ask that the target wins over third classes:
    whoever wins, the true class has lost. Under 4 classes without the ratio, and without a
    target as :func:`dlr`.
    """
    if targets is None:
        return dlr(logits, labels)
    gain = picked(logits, targets) - picked(logits, labels)
    return _ratio(gain, logits, _spread_of_four)


def picked(logits: Tensor, classes: Tensor) -> Tensor:
    """The logit of a class of each sample, ``(n,)``."""
    return logits.gather(1, classes[:, None]).squeeze(1)


def best_other(logits: Tensor, classes: Tensor) -> Tensor:
    """The largest logit beside that of a class of each sample, ``(n,)``."""
    return logits.scatter(1, classes[:, None], -torch.inf).amax(dim=1)


def _ratio(gain: Tensor, logits: Tensor, spread: Callable[[Tensor], Tensor | None]) -> Tensor:
    width = spread(logits.sort(dim=1, descending=True).values)
    return gain if width is None else gain / width.clamp_min(_LEAST_SPREAD)


def _spread_of_three(ranked: Tensor) -> Tensor | None:
    return ranked[:, 0] - ranked[:, 2] if ranked.shape[1] >= 3 else None


def _spread_of_four(ranked: Tensor) -> Tensor | None:
    if ranked.shape[1] < 4:
        return None
    return ranked[:, 0] - (ranked[:, 2] + ranked[:, 3]) / 2
