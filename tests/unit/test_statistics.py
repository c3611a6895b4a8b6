import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ffprof.compare.statistics import MIN_ROUNDS, paired_ratio

RATES = st.floats(0.1, 1e5)


@given(st.lists(st.tuples(RATES, RATES), min_size=MIN_ROUNDS, max_size=20))
def test_the_interval_is_scipys_on_log_ratios(pairs):
    ours, theirs = map(list, zip(*pairs, strict=True))
    got = paired_ratio(ours, theirs)
    logs = np.log(ours) - np.log(theirs)
    mean, error = logs.mean(), stats.sem(logs)
    assert got.ratio == pytest.approx(math.exp(mean))
    half = stats.t.ppf(0.975, len(logs) - 1) * error
    assert math.log(got.low) == pytest.approx(mean - half, abs=1e-6)
    assert math.log(got.high) == pytest.approx(mean + half, abs=1e-6)


@given(st.lists(st.tuples(RATES, RATES), min_size=1, max_size=12))
def test_swapping_sides_inverts_the_ratio(pairs):
    ours, theirs = map(list, zip(*pairs, strict=True))
    there, back = paired_ratio(ours, theirs), paired_ratio(theirs, ours)
    assert there.ratio * back.ratio == pytest.approx(1)
    if there.low is not None:
        assert there.low * back.high == pytest.approx(1)


def test_below_five_rounds_there_is_no_interval():
    few = paired_ratio([1.0] * (MIN_ROUNDS - 1), [2.0] * (MIN_ROUNDS - 1))
    assert (few.ratio, few.low, few.high) == (0.5, None, None)


def test_what_drifts_alike_cancels():
    drift = [1.0, 2.0, 0.5, 4.0, 1.5]
    got = paired_ratio([1.1 * d for d in drift], drift)
    assert (got.low, got.high) == pytest.approx((1.1, 1.1))


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], []), ([1.0], [0.0]), ([-1.0], [1.0])])
def test_nonsense_is_refused(a, b):
    with pytest.raises(ValueError, match="rates"):
        paired_ratio(a, b)


def test_coverage_of_the_interval():
    """Over many simulated audits the interval holds the truth about as often as it says."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        shared = rng.normal(0, 0.3, 7)
        ours = np.exp(0.05 + shared + rng.normal(0, 0.02, 7))
        theirs = np.exp(shared + rng.normal(0, 0.02, 7))
        got = paired_ratio(list(ours), list(theirs))
        hits += got.low <= math.exp(0.05) <= got.high
    assert 930 <= hits <= 970
