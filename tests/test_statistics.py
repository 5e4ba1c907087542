"""Bounds, paired tests and the sequential test, against closed forms and simulations."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, multinomial

from pytest_aerobust.verdict.statistics import (
    anytime_bounds,
    difference_bounds,
    first_crossing,
    log_evidence_above,
    mcnemar,
    proportion_bounds,
    samples_to_decide,
)

ALPHA = 0.05


@pytest.mark.parametrize(
    ("successes", "trials"), [(49, 50), (96, 100), (188, 200), (462, 500), (916, 1000)]
)
def test_what_it_takes_to_prove_nine_tenths(successes, trials):
    """The known table: so many survivors prove 0.9 at 95 %, and one fewer does not."""
    assert proportion_bounds(successes, trials, ALPHA, ALPHA).low >= 0.9
    assert proportion_bounds(successes - 1, trials, ALPHA, ALPHA).low < 0.9


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_bound_is_where_the_tail_has_its_probability(counts):
    """At the lower bound, seeing as many successes or more has exactly the stated probability."""
    successes, trials = counts
    low, high = proportion_bounds(successes, trials, ALPHA, 0.01)
    assert low == 0 or binom.sf(successes - 1, trials, low) == pytest.approx(ALPHA, rel=1e-6)
    assert high == 1 or binom.cdf(successes, trials, high) == pytest.approx(0.01, rel=1e-6)
    assert (low == 0) == (successes == 0)
    assert (high == 1) == (successes == trials)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (10, 2), (7, 7), (0, 30), (150, 100)])
def test_mcnemar_is_the_exact_binomial_test(lost, won):
    """The p of changed pairs is the binomial test of a fair coin; no change is no evidence."""
    tails = sum(math.comb(lost + won, k) for k in range(max(lost, won), lost + won + 1))
    assert mcnemar(lost, won) == pytest.approx(min(1.0, 2 * tails / 2 ** (lost + won)))
    if lost + won:
        theirs = binomtest(lost, lost + won, 0.5).pvalue
        assert mcnemar(lost, won) == pytest.approx(theirs, rel=1e-12)


def test_a_difference_is_bounded_on_both_sides():
    """The bounds hold the truth at least as often as they say, also for dependent counts."""
    rng = np.random.default_rng(0)
    losing, winning = 0.12, 0.04
    counts = rng.multinomial(200, [losing, winning, 1 - losing - winning], size=400)
    bounds = [difference_bounds(lost, won, 200, ALPHA, ALPHA) for lost, won, _ in counts.tolist()]
    truth = losing - winning
    assert sum(low > truth for low, _ in bounds) <= ALPHA * 400
    assert sum(high < truth for _, high in bounds) <= ALPHA * 400
    assert all(
        low < (lost - won) / 200 < high
        for (low, high), (lost, won, _) in zip(bounds, counts.tolist(), strict=True)
    )


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_the_sequential_test_holds_its_false_alarms(share):
    """Looked at after every sample, it shows a share off its own value no more than it may."""
    rng = np.random.default_rng(7)
    runs = 400
    ended = [first_crossing(rng.random(800) < share, share, ALPHA, ALPHA / 2) for _ in range(runs)]
    above = sum(found.above for found in ended if found)
    below = sum(not found.above for found in ended if found)
    # Three standard errors above the allowance; a test that looks so often without paying for
    # it has false alarms of several times as much.
    assert above <= runs * ALPHA + 3 * math.sqrt(runs * ALPHA)
    assert below <= runs * ALPHA / 2 + 3 * math.sqrt(runs * ALPHA / 2)


def test_a_fixed_test_looked_at_after_every_sample_would_not():
    """What the sequential test is for: bounds for one look, taken at every look, deceive."""
    rng = np.random.default_rng(7)
    looks = np.arange(20, 1000, 20)
    deceived = 0
    for _ in range(100):
        successes = (rng.random(1000) < 0.9).cumsum()[looks - 1]
        pairs = zip(successes.tolist(), looks.tolist(), strict=True)
        deceived += any(binom.sf(k - 1, n, 0.9) <= ALPHA for k, n in pairs)
    assert deceived > 15


def test_it_ends_early_where_the_share_is_far():
    """A share of 0.97 is above 0.9 after a few hundred samples, and one of 0.5 below it at once."""
    rng = np.random.default_rng(1)
    above = first_crossing(rng.random(10_000) < 0.97, 0.9, ALPHA, ALPHA)
    below = first_crossing(rng.random(10_000) < 0.5, 0.9, ALPHA, ALPHA)
    assert above is not None
    assert above.above
    assert above.trials < 500
    assert below is not None
    assert not below.above
    assert below.trials < 40


def test_the_evidence_is_an_average_of_likelihood_ratios():
    """It agrees with the integral that it stands for, done by brute force."""
    successes, trials, threshold = 37, 40, 0.8
    shares = np.linspace(threshold, 1, 200_001)[:-1]
    ratios = (shares / threshold) ** successes * ((1 - shares) / (1 - threshold)) ** (
        trials - successes
    )
    assert log_evidence_above(successes, trials, threshold) == pytest.approx(
        np.log(ratios.mean()), abs=1e-3
    )


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_anytime_bounds_are_where_the_evidence_suffices(counts):
    """They are wider than those of one look, and the evidence at them is what ends a test."""
    successes, trials = counts
    low, high = anytime_bounds(successes, trials, ALPHA, ALPHA)
    least, most = proportion_bounds(successes, trials, ALPHA, ALPHA)
    assert low <= least
    assert high >= most
    if low > 1e-9:
        evidence = log_evidence_above(successes, trials, low)
        assert evidence == pytest.approx(-math.log(ALPHA), abs=1e-3)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999, 1 - 1e-9, 1 - 2**-53])
@pytest.mark.parametrize("trials", [1, 2, 10_000, 10_000_000])
@pytest.mark.parametrize("law", [proportion_bounds, anytime_bounds])
def test_bounds_of_few_among_many(law, trials, confidence):
    """One success or one failure in any number of trials has bounds, however sure one must be."""
    alpha = 1 - confidence
    for successes in {0, 1, trials - 1, trials}:
        low, high = law(successes, trials, alpha, alpha)
        assert 0 <= low <= successes / trials <= high <= 1


@pytest.mark.parametrize(("losing", "winning"), [(0.0, 0.02), (0.3, 0.3), (0.02, 0.9), (0.0, 1.0)])
@pytest.mark.parametrize("trials", [1, 4, 12, 30])
def test_a_gain_is_never_overstated(losing, winning, trials):
    """Exactly, over all that can be drawn: a bound lies beyond the truth no more than it may."""
    truth, over, under = losing - winning, 0.0, 0.0
    shares = [losing, winning, max(0.0, 1 - losing - winning)]
    for lost in range(trials + 1):
        for won in range(trials + 1 - lost):
            low, high = difference_bounds(lost, won, trials, ALPHA, ALPHA)
            drawn = multinomial.pmf([lost, won, trials - lost - won], trials, shares)
            over, under = (
                over + drawn * (low > truth + 1e-12),
                under + drawn * (high < truth - 1e-12),
            )
    assert max(over, under) <= ALPHA


def chances(threshold, share, looks):
    """How probably a sequential test shows a share above a threshold, and below it: exactly."""
    states, above, below, enough = {0: 1.0}, 0.0, 0.0, -np.log(ALPHA)
    for trials in range(1, looks + 1):
        moved = Counter()
        for successes, chance in states.items():
            moved[successes] += chance * (1 - share)
            moved[successes + 1] += chance * share
        counts = np.array([successes for successes, chance in moved.items() if chance > 1e-12])
        up = log_evidence_above(counts, trials, threshold) >= enough
        down = ~up & (log_evidence_above(trials - counts, trials, 1 - threshold) >= enough)
        above += sum(moved[each] for each in counts[up].tolist())
        below += sum(moved[each] for each in counts[down].tolist())
        states = {each: moved[each] for each in counts[~up & ~down].tolist()}
        if not states:
            break
    return above, below


@pytest.mark.parametrize("threshold", [0.01, 0.5, 0.9, 0.99, 0.999])
def test_the_sequential_test_at_its_own_share(threshold):
    """At any threshold it is wrong in neither direction more often than it may."""
    assert max(chances(threshold, threshold, 600)) <= ALPHA


@pytest.mark.parametrize(("share", "shown"), [(1.0, 0), (0.999, 0), (0.97, 1), (0.9, 1)])
def test_the_sequential_test_decides_at_a_threshold_near_one(share, shown):
    """A share of 0.99 is told from its neighbours within some thousand samples."""
    found = chances(0.99, share, 2000)
    assert found[shown] > 0.99
    assert found[1 - shown] < ALPHA


def test_extremes_of_the_threshold():
    """Nothing lies above 1, and a single success shows a share above 0."""
    assert first_crossing([True] * 500, 1.0, ALPHA, ALPHA) is None
    assert first_crossing([False, True], 0.0, ALPHA, ALPHA) == (True, 2, 1)


def test_how_many_samples_would_decide():
    """The least number is found; none where ten million would not do."""
    assert samples_to_decide(lambda count: count >= 1237) == 1237
    assert samples_to_decide(lambda count: True) == 1
    assert samples_to_decide(lambda count: False) is None
    assert samples_to_decide(lambda count: count in (1, 2) or count >= 70, beyond=40) == 70
