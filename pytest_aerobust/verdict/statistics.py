"""What a draw of samples says of the population behind it, and how two models compare.

All of it is exact: no bound rests on a normal approximation.
"""

from collections.abc import Callable, Sequence
from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincc, betaincinv, betaln, xlogy

# Beyond so many samples nobody is advised to go.
_MOST_SAMPLES = 10_000_000
# Nearest that a threshold comes to 0 and 1.
_TINY = 1e-12
# Of a logarithm of evidence.
_ROUNDING = 1e-9


class Bounds(NamedTuple):
    """A lower and an upper bound of a share, each valid by itself."""

    low: float
    high: float


def proportion_bounds(successes: int, trials: int, below: float, above: float) -> Bounds:
    """One-sided Clopper-Pearson bounds of a probability (Clopper and Pearson 1934).

    Args:
        successes: Of independent trials with this probability, in [0, trials].
        trials: Their number, at least 1.
        below: Probability, in (0, 1), that the lower bound may lie above the truth.
        above: Probability that the upper bound may lie below it.
    """
    failures = trials - successes
    low = betaincinv(successes, failures + 1, below) if successes else 0.0
    high = betaincinv(successes + 1, failures, 1 - above) if failures else 1.0
    return Bounds(float(low), float(high))


def difference_bounds(lost: int, won: int, trials: int, below: float, above: float) -> Bounds:
    """Bounds of the probability to lose less that to win, from pairs of the same samples.

    Each is the difference of two exact bounds that share the risk evenly, so it holds whatever
    the dependence of the two counts.

    Args:
        lost: Pairs whose first holds alone.
        won: Pairs whose second holds alone.
        trials: All pairs, at least 1.
        below: Probability, in (0, 1), that the lower bound may lie above the truth.
        above: Probability that the upper bound may lie below it.
    """
    losing = proportion_bounds(lost, trials, below / 2, above / 2)
    winning = proportion_bounds(won, trials, above / 2, below / 2)
    return Bounds(losing.low - winning.high, losing.high - winning.low)


def mcnemar(lost: int, won: int) -> float:
    """Exact two-sided p of as many changes, were losing and winning equally likely.

    (McNemar 1947, in its exact form: a binomial test of the pairs that changed, whose two tails
    are alike.)
    """
    return min(1.0, 2 * float(bdtr(min(lost, won), lost + won, 0.5)))


def samples_to_decide(enough: Callable[[int], bool], *, beyond: int = 0) -> int | None:
    """About the smallest number of samples that decides; None where ten million would not do.

    Args:
        enough: Asked with a number of at least 1; from some number on it says yes, but for what
            rounding does.
        beyond: A number that did not decide, and of which no smaller one is asked about: a share
            of few samples is rounded so much that it could say yes.
    """
    high = 1
    while high <= beyond or not enough(high):
        high *= 2
        if high > _MOST_SAMPLES:
            return None
    low = max(high // 2, beyond)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


class Crossing(NamedTuple):
    """When a sequential test ended.

    Attributes:
        above: Whether it showed the probability above the threshold, or below it.
        trials: After how many.
        successes: How many of them.
    """

    above: bool
    trials: int
    successes: int


def first_crossing(
    outcomes: Sequence[bool], threshold: float, false_above: float, false_below: float
) -> Crossing | None:
    """When outcomes, one after the other, first show their probability to be off a threshold.

    Two nonnegative supermartingales are watched: the likelihood ratio to the threshold, averaged
    uniformly over all larger probabilities, and over all smaller ones. Neither ever exceeds 1 / a
    with a probability of more than a (Ville 1939; mixtures: Robbins 1970), whenever one looks and
    stops. So the outcomes must come in random order, and never by difficulty.

    Args:
        outcomes: Independent and alike, in the order in which they came.
        threshold: In [0, 1].
        false_above: Probability, in (0, 1), to show "above" by mistake.
        false_below: The same for "below".

    Returns:
        None where nothing is shown yet.
    """
    successes = np.cumsum(np.asarray(outcomes, dtype=np.int64))
    trials = np.arange(1, len(successes) + 1)
    above = log_evidence_above(successes, trials, threshold) >= _enough(false_above)
    below = log_evidence_above(trials - successes, trials, 1 - threshold) >= _enough(false_below)
    shown = np.flatnonzero(above | below)
    if not len(shown):
        return None
    at = shown[0]
    return Crossing(bool(above[at]), int(trials[at]), int(successes[at]))


def _enough(alpha: float) -> float:
    """Logarithm of the evidence that it takes; what rounding leaves of just enough suffices."""
    return -log(alpha) - _ROUNDING


def anytime_bounds(successes: int, trials: int, below: float, above: float) -> Bounds:
    """Bounds of a probability that hold at every time at once, from the same evidence.

    Args:
        successes: Of independent trials with this probability, in [0, trials].
        trials: Their number so far, at least 1.
        below: Probability, in (0, 1), that the lower bound ever lies above the truth.
        above: Probability that the upper bound ever lies below it.
    """
    low = _largest_refuted(successes, trials, below)
    return Bounds(low, 1 - _largest_refuted(trials - successes, trials, above))


def _largest_refuted(successes: int, trials: int, alpha: float) -> float:
    """The largest threshold above which the evidence shows a probability to lie; 0 for none."""
    if not successes:
        return 0.0

    def excess(threshold: float) -> float:
        return float(log_evidence_above(successes, trials, threshold)) + log(alpha)

    # One success among very many shows nothing at all, where one must be very sure.
    if excess(_TINY) <= 0:
        return 0.0
    # Here, as SciPy's optimisers take longer to load than most contracts to run.
    from scipy.optimize import brentq

    # At the observed share the likelihood ratio to any other probability is below 1.
    return float(brentq(excess, _TINY, min(successes / trials, 1 - _TINY), xtol=1e-12))


def log_evidence_above(
    successes: NDArray[np.int64] | int, trials: NDArray[np.int64] | int, threshold: float
) -> NDArray[np.float64]:
    """Logarithm of the evidence that a probability lies above a threshold.

    It is the likelihood ratio to the threshold, averaged uniformly over (threshold, 1].
    """
    if threshold >= 1:
        return np.full(np.shape(successes), -np.inf)
    k, n = np.asarray(successes), np.asarray(trials)
    with np.errstate(divide="ignore"):  # what underflows is no evidence
        larger = np.log(betaincc(k + 1, n - k + 1, threshold))
    mixture = betaln(k + 1, n - k + 1) + larger
    found: NDArray[np.float64] = (
        mixture - log(1 - threshold) - xlogy(k, threshold) - xlogy(n - k, 1 - threshold)
    )
    return found
