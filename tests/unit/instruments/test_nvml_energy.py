"""Energy of an interval: integral and counter agree with calculus, and say when they cannot."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ffprof.instruments.nvml import GpuLostError, NvmlError, ReplayedGpu, Sample, idle_power
from ffprof.instruments.nvml.energy import (
    HOLD_SECONDS,
    MIN_SAMPLES,
    PERIOD_SECONDS,
    WRAP_JOULES,
    count,
    energy,
    integrate,
)

WATTS = st.floats(0, 700)


def exact(knots, start, end):
    """The integral of a piecewise-linear function, from its antiderivative piece by piece."""
    total = 0.0
    for (a, v), (b, w) in pairwise(knots):
        lo, hi = max(a, start), min(b, end)
        if lo < hi:
            slope = (w - v) / (b - a)
            total += v * (hi - lo) + slope * ((hi - a) ** 2 - (lo - a) ** 2) / 2
    return total


@st.composite
def powers(draw):
    """Power that is linear between samples at most 0.4 s apart, and an interval inside."""
    count_ = draw(st.integers(MIN_SAMPLES + 4, 40))
    gaps = draw(st.lists(st.floats(0.02, 0.4), min_size=count_, max_size=count_))
    watts = draw(st.lists(WATTS, min_size=count_, max_size=count_))
    began, times = draw(st.floats(0, 1e6)), []
    for gap in gaps:
        began += gap
        times.append(began)
    first = draw(st.integers(0, 2))
    last = draw(st.integers(count_ - 3, count_ - 2))
    start = draw(st.floats(times[first], times[first + 1]))
    end = draw(st.floats(times[last], times[last + 1]))
    inside = sum(start <= t <= end for t in times)
    assume(inside >= MIN_SAMPLES)
    return list(zip(times, watts, strict=True)), start, end


def counter_of(knots, first=0.0, modulus=math.inf):
    """What a counter shows at the knots."""
    return [
        (t, math.fmod(first + exact(knots, knots[0][0], t), modulus) if t else 0) for t, _ in knots
    ]


def sampled(knots, counter=None):
    counted = dict(counter or [])
    return [Sample(seconds=t, power_watts=w, energy_joules=counted.get(t)) for t, w in knots]


@given(powers())
def test_trapezoids_of_piecewise_linear_power_are_the_exact_integral(case):
    knots, start, end = case
    assert integrate(knots, start, end) == pytest.approx(
        exact(knots, start, end), rel=1e-6, abs=1e-3
    )


@given(powers())
def test_energy_adds_up_over_neighbouring_intervals(case):
    knots, start, end = case
    middle = (start + end) / 2
    for curve in (knots, counter_of(knots)):
        made = integrate if curve is knots else count
        assume(sum(start <= t <= middle for t, _ in knots) >= MIN_SAMPLES)
        assume(sum(middle <= t <= end for t, _ in knots) >= MIN_SAMPLES)
        both = made(curve, start, middle) + made(curve, middle, end)
        assert both == pytest.approx(made(curve, start, end), rel=1e-6, abs=1e-3)


@given(powers(), st.floats(0, 1e7))
def test_a_counter_of_the_same_power_agrees_wherever_it_began(case, first):
    knots, start, end = case
    counter = counter_of(knots, first)
    found, remark = energy(sampled(knots, counter), start, end, images=7)
    # Between two samples the counter is taken to be straight: off by at most what one holds.
    most = max(w for _, w in knots)
    assume(found is not None and found.joules > 1)
    assert found.source == "counter"
    assert found.counter_joules == pytest.approx(exact(knots, start, end), abs=2 * 0.4 * most)
    assert found.integrated_joules == pytest.approx(exact(knots, start, end), rel=1e-6, abs=1e-3)
    gap = (found.integrated_joules - found.counter_joules) / found.counter_joules
    assert found.gap == pytest.approx(gap)
    assert bool(remark) == (abs(gap) > 0.1)


@given(powers(), st.floats(0, 1))
def test_a_counter_that_wraps_says_the_same_as_one_that_does_not(case, share):
    knots, start, end = case
    whole = counter_of(knots)
    first = WRAP_JOULES - share * whole[-1][1]  # so that it wraps somewhere
    wrapped = counter_of(knots, first, WRAP_JOULES)
    assert count(wrapped, start, end, knots) == pytest.approx(
        count(whole, start, end, knots), rel=1e-6, abs=1e-2
    )


@given(powers(), st.floats(1000, 4e6), st.data())
def test_a_counter_that_is_reset_is_not_believed(case, first, data):
    knots, start, end = case
    counter = counter_of(knots, first)
    inner = [n for n, (t, _) in enumerate(counter) if start < t < end]
    at = data.draw(st.sampled_from(inner[1:]))
    lost = counter[at - 1][1]
    counter = counter[:at] + [(t, max(0.0, v - lost)) for t, v in counter[at:]]
    found, remark = energy(sampled(knots, counter), start, end, images=7)
    assert (found.source, found.counter_joules, found.gap) == ("power", None, None)
    assert found.joules == pytest.approx(exact(knots, start, end), rel=1e-6, abs=1e-3)
    assert "went back" in remark


def steady(seconds=3.0, watts=100.0, counter=True, origin=50.0):
    count_ = round(seconds / PERIOD_SECONDS) + 1
    return [
        Sample(
            seconds=origin + n * PERIOD_SECONDS,
            power_watts=watts,
            energy_joules=5000 + watts * n * PERIOD_SECONDS if counter else None,
        )
        for n in range(count_)
    ]


def test_joules_an_image():
    found, _ = energy(steady(), 51.0, 52.0, images=50, idle_watts=9.0)
    assert found.joules_per_image == pytest.approx(2.0)
    assert (found.seconds, found.idle_watts) == (pytest.approx(1.0), 9.0)


def test_without_a_counter_power_is_integrated():
    found, remark = energy(steady(counter=False), 51.0, 52.0, images=1)
    assert (found.source, found.counter_joules, remark) == ("power", None, "")
    assert found.joules == pytest.approx(100)


def test_a_counter_without_power_stands_alone_and_its_wrap_cannot_be_proved():
    blind = [Sample(seconds=s.seconds, energy_joules=s.energy_joules) for s in steady()]
    found, _ = energy(blind, 51.0, 52.0, images=1)
    assert (found.source, found.integrated_joules) == ("counter", None)
    assert found.joules == pytest.approx(100)
    begin = WRAP_JOULES - 5150
    blind = [
        Sample(seconds=s.seconds, energy_joules=(begin + s.energy_joules) % WRAP_JOULES)
        for s in steady()
    ]
    found, reason = energy(blind, 51.0, 52.0, images=1)
    assert found is None
    assert "went back" in reason


@pytest.mark.parametrize("where", [5035, 5250])
def test_a_reset_outside_of_the_interval_does_not_matter(where):
    late = [
        Sample(seconds=s.seconds, power_watts=100, energy_joules=s.energy_joules % where)
        for s in steady()
    ]
    found, remark = energy(late, 50.5, 52.0, images=1)
    assert (found.source, remark) == ("counter", "")
    assert found.joules == pytest.approx(150)


def test_a_counter_that_stands_still_is_not_believed():
    still = [Sample(seconds=s.seconds, power_watts=100, energy_joules=7.0) for s in steady()]
    found, remark = energy(still, 51.0, 52.0, images=1)
    assert (found.source, remark) == ("power", "the energy counter stands still")


def test_a_gap_is_told():
    half = [
        Sample(seconds=s.seconds, power_watts=50, energy_joules=s.energy_joules) for s in steady()
    ]
    found, remark = energy(half, 51.0, 52.0, images=1)
    assert found.gap == pytest.approx(-0.5)
    assert "by -50 %" in remark


@pytest.mark.parametrize(
    ("samples", "start", "end", "reason"),
    [
        ([], 0, 1, "0 samples in 1.00 s"),
        (steady(), 51.0, 51.25, "3 samples in 0.25 s; energy needs 5"),
        (steady(), 50.0 - 2 * HOLD_SECONDS, 52.0, "did not cover"),
        (steady(), 51.0, 53.0 + 2 * HOLD_SECONDS, "did not cover"),
        (steady()[:8] + steady()[20:], 50.2, 52.9, "no samples for 1.3 s"),
    ],
)
def test_too_little_is_none_with_a_reason(samples, start, end, reason):
    found, why = energy(samples, start, end, images=1)
    assert found is None
    assert reason in why


def test_ends_just_outside_of_the_samples_are_held():
    found, _ = energy(steady(), 50.0 - HOLD_SECONDS / 2, 53.0 + HOLD_SECONDS / 2, images=1)
    assert found.integrated_joules == pytest.approx(100 * (3 + HOLD_SECONDS))
    assert found.counter_joules == pytest.approx(100 * (3 + HOLD_SECONDS))


class Time:
    now = 0.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def idle(*samples, seconds=0.5):
    time = Time()
    return idle_power(ReplayedGpu(samples), seconds, time.clock, time.sleep), time.now


def power(watts):
    return Sample(seconds=0.0, power_watts=watts)


def test_idle_power_is_the_median_of_what_was_seen():
    watts, took = idle(power(300), *[power(10)] * 3, power(12))
    assert watts == pytest.approx(11, abs=1.01)
    assert watts < 13
    assert 0.5 <= took < 0.7
    assert idle(power(None))[0] is None
    assert idle(NvmlError("busy"))[0] is None
    assert idle(power(10), power(10), GpuLostError("gone"))[0] == 10
