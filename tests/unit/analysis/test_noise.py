"""What is said of the noise of processes, against noise that is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.analysis.statistics.noise import FEWEST_PROCESSES, drift_of, noise_of, two_speeds

pytestmark = pytest.mark.slow


def tables(audits, deviations, rounds, *, drift=0.0, seed=0):
    """Logarithms of speeds: rows that differ tenfold, a machine that drifts, normal noise."""
    draw = np.random.default_rng(seed)
    rows = len(deviations)
    speeds = draw.normal(5, 1, (audits, rows, 1))
    machine = draw.normal(0, drift, (audits, 1, rounds)).cumsum(axis=-1)
    return speeds + machine + draw.normal(0, 1, (audits, rows, rounds)) * np.c_[deviations]


@pytest.mark.parametrize("rows", [2, 3, 8, 17])
@pytest.mark.parametrize("drift", [0.0, 0.2])
def test_the_variance_is_unbiased_whatever_the_machine_does(rows, drift):
    found = np.array(
        [
            [noise.sd**2 for noise in noise_of(table)]
            for table in tables(1500, [0.05] * rows, 6, drift=drift)
        ]
    )
    # 1500 variances of 2.5 degrees or more: a relative standard error of 0.023 at most
    assert found.mean(axis=0) == pytest.approx([0.05**2] * rows, rel=0.1)


def test_the_freedom_that_is_stated_is_that_of_the_spread():
    found = [noise_of(table)[0] for table in tables(4000, [0.05] * 8, 10)]
    variances = np.array([noise.sd**2 for noise in found])
    # a variance of f degrees has the relative variance 2 / f
    assert found[0].freedom == 9
    assert 2 / (variances.var() / variances.mean() ** 2) == pytest.approx(9, rel=0.1)


def test_with_unequal_rows_the_bias_is_the_one_that_is_written_down():
    deviations = np.array([0.01, 0.02, 0.02, 0.05])
    found = np.mean(
        [
            [noise.sd**2 for noise in noise_of(table)]
            for table in tables(4000, deviations, 8, drift=0.1)
        ],
        axis=0,
    )
    expected = (1 - 1 / 3) * deviations**2 + np.mean(deviations**2) / 3
    assert found == pytest.approx(expected, rel=0.08)
    assert found.mean() == pytest.approx(np.mean(deviations**2), rel=0.05)


def test_one_row_has_its_plain_deviation_and_no_drift():
    (noise,) = noise_of([[1.0, 2.0, 4.0]])
    assert noise.sd == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert noise.freedom == 2
    assert drift_of([[1.0, 2.0, 4.0]]) is None


def test_two_rows_share_what_is_known_of_their_difference():
    one, other = noise_of([[1.0, 1.2, 0.9, 1.0], [2.0, 2.0, 2.1, 1.7]])
    difference = np.var(np.subtract([1.0, 1.2, 0.9, 1.0], [2.0, 2.0, 2.1, 1.7]), ddof=1)
    assert one.sd**2 == pytest.approx(difference / 2)
    assert one.sd == pytest.approx(other.sd)


@given(
    st.lists(st.lists(st.floats(-20, 20), min_size=6, max_size=6), min_size=2, max_size=6),
    st.lists(st.floats(-20, 20), min_size=6, max_size=6),
)
def test_what_a_round_shares_is_no_noise(rows, machine):
    moved = [[y + b for y, b in zip(row, machine, strict=True)] for row in rows]
    for before, after in zip(noise_of(rows), noise_of(moved), strict=True):
        assert after.sd == pytest.approx(before.sd, rel=1e-6, abs=1e-9)
        assert after.residuals == pytest.approx(before.residuals, abs=1e-9)


@pytest.mark.parametrize("table", [[], [[1.0]], [[1.0, 2.0], [1.0]], [[]]])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(ValueError, match="at least two"):
        noise_of(table)


def test_drift_is_told_from_noise():
    steady = [drift_of(table) for table in tables(800, [0.03] * 5, 10)]
    ratio = np.mean([d.sd**2 for d in steady]) / np.mean([d.expected**2 for d in steady])
    assert ratio == pytest.approx(1, rel=0.1)
    moving = [drift_of(table) for table in tables(200, [0.03] * 5, 10, drift=0.05)]
    assert np.mean([d.sd for d in moving]) > 3 * np.mean([d.expected for d in moving])
    assert np.mean([d.chance < 0.01 for d in moving]) > 0.9


@pytest.mark.parametrize(("rows", "rounds"), [(2, 6), (8, 6), (17, 10)])
def test_noise_is_rarely_taken_for_drift(rows, rounds):
    chances = [drift_of(table).chance for table in tables(2000, [0.03] * rows, rounds)]
    assert np.mean(np.array(chances) < 0.01) <= 0.02
    assert np.mean(chances) == pytest.approx(0.5, abs=0.03)


def test_rounds_without_noise_drift_or_stand_still():
    assert drift_of([[1.0, 1.0], [2.0, 2.0]]).chance == 1
    assert drift_of([[1.0, 3.0], [2.0, 4.0]]).chance < 1e-6


# ---- two speeds


def share_told(noise, processes, *, audits=3000, rows=1, seed=1):
    draw = np.random.default_rng(seed)
    told = 0
    for _ in range(audits):
        table = noise(draw, (rows, processes))
        told += two_speeds(noise_of(table.tolist())[0].residuals) is not None
    return told / audits


def normal(draw, shape):
    return draw.normal(0, 0.02, shape)


def heavy(draw, shape):
    return 0.02 * draw.standard_t(3, shape)


def one_slow_in_five(draw, shape):
    return draw.normal(0, 0.02, shape) - 0.15 * (draw.random(shape) < 0.2)


def bimodal(draw, shape):
    """Half of the processes a fifth slower, one of them at random, others in the row steady."""
    made = draw.normal(0, 0.02, shape)
    made[0] += 0.2 * (draw.random(shape[1]) < 0.5)
    return made


@pytest.mark.parametrize("noise", [normal, heavy])
@pytest.mark.parametrize(("processes", "most"), [(8, 0.022), (10, 0.009), (16, 0.003)])
def test_one_speed_is_rarely_taken_for_two(noise, processes, most):
    assert share_told(noise, processes) <= most
    assert share_told(noise, processes, rows=8, audits=1000) <= 1.6 * most


@pytest.mark.parametrize(("processes", "least"), [(10, 0.75), (18, 0.93)])
def test_two_speeds_are_mostly_told(processes, least):
    assert share_told(bimodal, processes) >= least
    assert share_told(bimodal, processes, rows=8, audits=1000) >= least - 0.12


def test_what_is_told_of_two_speeds_is_right():
    slow, fast = [0.0, 0.01, -0.01, 0.02], [0.2, 0.21, 0.19, 0.22, 0.2]
    found = two_speeds([*fast, *slow])
    assert (found.slow, found.fast) == (4, 5)
    assert found.ratio == pytest.approx(math.exp(np.mean(fast) - np.mean(slow)))


def test_two_outliers_are_no_second_speed():
    assert two_speeds([1.0, 1.1, *np.linspace(0, 0.02, 8)]) is None


def test_two_speeds_without_any_noise_are_told_and_one_is_not():
    assert two_speeds([0.0] * 4 + [1.0] * 4).fast == 4
    assert two_speeds([0.5] * 10) is None


@given(st.lists(st.floats(-20, 20), max_size=30))
def test_groups_are_large_enough_and_apart(values):
    found = two_speeds(values)
    if found is None:
        return
    assert len(values) >= FEWEST_PROCESSES
    assert min(found.slow, found.fast) >= 3
    assert found.slow + found.fast == len(values)
    assert found.ratio > 1
