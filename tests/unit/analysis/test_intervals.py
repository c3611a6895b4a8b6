import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ffprof.analysis.statistics.intervals import MIN_ROUNDS, paired_intervals, paired_ratio
from ffprof.analysis.statistics.looks import ERROR, LOOKS, error_of, look_of, next_look
from ffprof.analysis.statistics.noise import moderated, row_variances, shared_noise
from ffprof.analysis.statistics.resampling import second_opinion

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


@given(st.lists(st.integers(-1000, 1000).map(lambda n: n / 1024), min_size=2, max_size=9))
def test_sign_flips_are_scipys_permutation_test(logs):
    def mean(values, axis=0):
        return np.mean(values, axis=axis)

    found = second_opinion(logs).sign_flip
    expected = stats.permutation_test(
        (np.array(logs),), mean, permutation_type="samples", n_resamples=np.inf, axis=0
    )
    assert found == pytest.approx(expected.pvalue)


def test_five_equal_rounds_cannot_say_less_than_six_percent():
    assert second_opinion([0.1] * 5).sign_flip == 2 / 32
    assert second_opinion([0.1] * 9).sign_flip == 2 / 512
    assert second_opinion([0.1] * 16).sign_flip < 1e-3


def test_the_bootstrap_covers_less_than_it_says():
    """Why it is a second opinion only: over five processes 95 % are about 84."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(500):
        low, high = second_opinion(list(rng.normal(0, 0.02, 5))).bootstrap
        hits += low <= 1 <= high
    assert 0.78 <= hits / 500 <= 0.89
    # and with many rounds it is what it says
    low, high = second_opinion(list(rng.normal(0, 0.02, 400))).bootstrap
    assert math.log(high / low) == pytest.approx(2 * 1.96 * 0.02 / 20, rel=0.2)


def test_shared_noise_of_equal_rows_is_worth_as_much_as_all_of_them():
    rng = np.random.default_rng(2)
    variances = 0.02**2 * rng.chisquare(8, (2000, 17)) / 8
    noise = shared_noise(variances, 8)
    assert np.median(noise.freedom) > 100
    assert np.median(noise.variance) == pytest.approx(0.02**2, rel=0.05)


def test_shared_noise_of_unlike_rows_is_worth_what_their_scatter_says():
    """Variances drawn from a scaled inverse chi-squared law of 6 degrees of freedom."""
    rng = np.random.default_rng(3)
    truth = 0.02**2 * 6 / rng.chisquare(6, (400, 200))
    noise = shared_noise(truth * rng.chisquare(8, truth.shape) / 8, 8)
    assert np.median(noise.freedom) == pytest.approx(6, rel=0.15)
    assert np.median(noise.variance) == pytest.approx(0.02**2, rel=0.1)


def test_few_rows_share_a_lower_bound_only():
    noise = shared_noise(np.array([1.0, 2.0, 6.0]), 4)
    assert (noise.variance, noise.freedom) == (3.0, 0.0)
    variances, freedom = moderated(np.array([1.0, 6.0]), 4, noise)
    assert list(variances) == [3.0, 6.0]
    assert list(freedom) == [4.0, 4.0]


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 9))
def test_row_variances_know_nothing_of_rows_and_rounds(rows, rounds, seed):
    rng = np.random.default_rng(seed)
    logs = rng.normal(0, 1, (rows, rounds))
    moved = logs + rng.normal(0, 9, (rows, 1)) + rng.normal(0, 9, (1, rounds))
    assert row_variances(moved) == pytest.approx(row_variances(logs), abs=1e-9)


def test_row_variances_are_those_of_processes():
    rng = np.random.default_rng(4)
    found = row_variances(rng.normal(0, 0.02, (3000, 7, 5)))
    assert found.mean() == pytest.approx(0.02**2, rel=0.02)


@given(st.lists(st.floats(-0.5, 0.5), min_size=5, max_size=15))
def test_two_rows_give_the_plain_t_interval(ratios):
    logs = np.array([ratios, [0.0] * len(ratios)])
    found = paired_intervals(logs, [(0, 1)], 0.05)
    half = stats.t.ppf(0.975, len(ratios) - 1) * stats.sem(ratios)
    assert found.middle[0] == pytest.approx(np.mean(ratios))
    assert found.half[0] == pytest.approx(half, abs=2e-6)


def test_the_error_is_split_over_looks_and_claims():
    assert error_of(1) * len(LOOKS) == pytest.approx(ERROR)
    assert error_of(17) * 17 * len(LOOKS) == pytest.approx(ERROR)
    assert [look_of(n) for n in (4, 5, 8, 9, 14, 15, 99)] == [None, 5, 5, 9, 9, 15, 15]
    assert [next_look(n) for n in (1, 5, 9, 15)] == [5, 9, 15, None]
    with pytest.raises(ValueError, match="a claim"):
        error_of(0)
