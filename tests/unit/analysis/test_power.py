"""The smallest change that is stated is found as often as is stated."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from ffprof.analysis.statistics.intervals import (
    ZONE,
    absolute_intervals,
    change_intervals,
    relative_to,
    relative_to_all,
)
from ffprof.analysis.statistics.looks import error_of
from ffprof.analysis.statistics.power import claims_of, smallest_change, smallest_changes


@pytest.mark.parametrize("sd", [0.005, 0.03, 0.1])
@pytest.mark.parametrize("rounds", [5, 9, 15])
@pytest.mark.parametrize(("claims", "freedom"), [(1, 4), (6, 8), (8, 28), (40, 4), (17, 128)])
def test_one_interval_finds_it(sd, rounds, claims, freedom):
    """Under normal noise, whose size the interval knows from ``freedom`` degrees only."""
    draw, many = np.random.default_rng(rounds), 6000
    share = smallest_change(sd, rounds, claims, freedom)
    middle = math.log(1 - share) + draw.normal(0, sd * math.sqrt(2 / rounds), many)
    known = sd * np.sqrt(draw.chisquare(freedom, many) / freedom)
    half = stdtrit(freedom, 1 - error_of(claims) / 2) * known * math.sqrt(2 / rounds)
    found = np.mean(middle + half < math.log(1 - ZONE))
    assert 0.93 <= found <= 0.97


def power(rows, rounds, deviation, *, many=1500):
    """How often ``compare``'s own intervals find the change that is stated, in the last row."""
    draw = np.random.default_rng(rows * rounds)
    deviations = [deviation] * rows
    share = smallest_changes(deviations, rounds)[-1]
    machine = draw.normal(0, 0.1, (2, many, 1, rounds))
    before, after = draw.normal(0, deviation, (2, many, rows, rounds)) + machine
    after[:, -1] += math.log(1 - share)
    if rows == 2:
        before, after = (relative_to(logs, [0])[:, 1:] for logs in (before, after))
    else:
        before, after = relative_to_all(before, after)
    found = change_intervals(before, after, error_of(claims_of(rows)))
    return np.mean((found.middle + found.half)[:, -1] < math.log(1 - ZONE))


@pytest.mark.parametrize("rounds", [5, 9, 15])
@pytest.mark.parametrize("rows", [2, 3, 4, 5, 6, 8, 17])
def test_a_comparison_of_two_runs_finds_it(rows, rounds):
    assert power(rows, rounds, 0.03) >= 0.93


@pytest.mark.parametrize("rounds", [5, 9, 15])
def test_one_row_is_found_by_its_rate(rounds):
    draw, many, sd = np.random.default_rng(rounds), 2000, 0.03
    (share,) = smallest_changes([sd], rounds)
    before, after = draw.normal(0, sd, (2, many, 1, rounds))
    # the machine between the runs is as different as between two rounds
    after = after + draw.normal(0, sd * math.sqrt(2), (many, 1, 1)) + math.log(1 - share)
    found = absolute_intervals(before, after, error_of(1))
    assert np.mean((found.middle + found.half)[:, 0] < math.log(1 - ZONE)) >= 0.93


def test_with_much_freedom_it_is_the_sum_of_quantiles():
    quantile = stdtrit(1e6, 1 - error_of(8) / 2)
    simple = -math.log(1 - ZONE) + (quantile + 1.6448536) * math.sqrt(2 * 0.02**2 / 9)
    assert -math.log(1 - smallest_change(0.02, 9, 8, 1e6)) == pytest.approx(simple, rel=1e-4)


@given(
    st.floats(0, 2),
    st.floats(0, 2),
    st.integers(2, 40),
    st.integers(1, 50),
    st.floats(1, 500),
)
def test_it_is_a_share_and_grows_with_noise_and_claims(sd, more, rounds, claims, freedom):
    share = smallest_change(sd, rounds, claims, freedom)
    assert ZONE - 1e-12 <= share <= 1
    assert smallest_change(sd + more, rounds, claims, freedom) >= share
    assert smallest_change(sd, rounds, claims + 1, freedom) >= share
    assert smallest_change(sd, rounds + 1, claims, freedom) <= share
    assert smallest_change(sd, rounds, claims, freedom + 1) <= share + 1e-6


def test_without_noise_the_zone_is_left():
    assert smallest_change(0.0, 5, 8, 4) == pytest.approx(ZONE)


@pytest.mark.parametrize(
    "arguments", [(0.1, 0, 1, 4), (0.1, 5, 0, 4), (0.1, 5, 1, 0), (-0.1, 5, 1, 4)]
)
def test_what_cannot_be_is_refused(arguments):
    with pytest.raises(ValueError, match=r"must be a claim|is seen with"):
        smallest_change(*arguments)
    with pytest.raises(ValueError, match=r"must be a claim|is seen with"):
        smallest_change(math.nan, 5, 1, 4)


def test_a_noisy_row_makes_others_only_a_little_harder_to_see():
    quiet = smallest_changes([0.01] * 8, 9)
    mixed = smallest_changes([0.01] * 7 + [0.1], 9)
    assert mixed[-1] > 3 * quiet[-1]
    assert quiet[0] < mixed[0] < 2 * quiet[0]
