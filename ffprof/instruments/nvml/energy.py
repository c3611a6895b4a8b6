"""Energy over an interval, from samples: the GPU's own counter, and power integrated over time.

The counter is preferred: it misses nothing between samples. It is checked against the integral,
which is also what remains where a GPU has no counter (before Volta) or the counter cannot be
trusted. Power on Ampere and newer is a mean over the last second (nvml.h), so over short intervals
after a change of load the two differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Protocol

from ffprof.instruments.nvml.library import NvmlError
from ffprof.instruments.nvml.sample import Sample
from ffprof.records.trial import Energy

PERIOD_SECONDS = 0.1  # of sampling: 10 Hz at most, more would disturb what is measured
MIN_SAMPLES = 5  # in the interval; with fewer its ends weigh too much
HOLD_SECONDS = 0.3  # that an end of the interval may lie outside of the samples
HOLE_SECONDS = 1.0  # between samples; power could have done anything in between
WRAP_JOULES = 2**32 * 1e-3  # a counter of millijoules in 32 bits
# A counter that was reset looks like one that wrapped if it stood within this of its end.
WRAP_SLACK_JOULES = 200.0
GAP_TOLD = 0.1  # share by which counter and integral may differ without a word

Curve = Sequence[tuple[float, float]]  # seconds and values, by time


class _UnusableError(Exception):
    """Why no figure can be had from a curve."""


class _Samples(Protocol):
    def sample(self) -> Sample: ...


def energy(
    samples: Sequence[Sample],
    start: float,
    end: float,
    images: int,
    idle_watts: float | None = None,
) -> tuple[Energy | None, str]:
    """Energy from ``start`` to ``end``, and a remark: why there is none, or what is odd about it.

    Args:
        samples: by time, from before ``start`` until after ``end``.
        start: ``time.monotonic()`` seconds.
        end: the same clock.
        images: trained on in the interval.
        idle_watts: power with nothing on the GPU; noted, not subtracted.
    """
    watts = [(s.seconds, s.power_watts) for s in samples if s.power_watts is not None]
    joules = [(s.seconds, s.energy_joules) for s in samples if s.energy_joules is not None]
    integrated, no_power = _tried(lambda: integrate(watts, start, end))
    counted, no_counter = _tried(lambda: count(joules, start, end, watts))
    if counted == 0 and integrated:
        counted, no_counter = None, "the energy counter stands still"
    found = counted if counted is not None else integrated
    if found is None:
        unread = samples[-1].unread if samples else {}
        return None, (no_counter if joules else "") or unread.get("power_watts", no_power)
    gap = None
    if counted and integrated is not None:
        gap = (integrated - counted) / counted
    remark = no_counter if joules else ""
    if gap is not None and abs(gap) > GAP_TOLD:
        remark = f"power integrated over time differs from the energy counter by {100 * gap:+.0f} %"
    made = Energy(
        joules=found,
        images=images,
        seconds=end - start,
        source="power" if counted is None else "counter",
        counter_joules=counted,
        integrated_joules=integrated,
        gap=gap,
        idle_watts=idle_watts,
    )
    return made, remark


def total_energy(parts: Sequence[Energy | None]) -> Energy | None:
    """The sum over intervals, which need not touch; None if one of them is missing, or all are."""
    known = [one for one in parts if one is not None]
    if len(known) < len(parts) or not known:
        return None
    if len(known) == 1:
        return known[0]
    return Energy(
        joules=sum(one.joules for one in known),
        images=sum(one.images for one in known),
        seconds=sum(one.seconds for one in known),
        source="counter" if all(one.source == "counter" for one in known) else "power",
        idle_watts=known[0].idle_watts,
    )


def integrate(watts: Curve, start: float, end: float) -> float:
    """Joules under the straight lines between samples of power, by trapezoids.

    At an end without a sample beyond it, the last power is held for up to ``HOLD_SECONDS``.

    Raises:
        _UnusableError: too few samples, a hole, or an end too far from any sample.
    """
    _check(watts, start, end)
    inside = [(t, w) for t, w in watts if start < t < end]
    points = [(start, _at(watts, start)), *inside, (end, _at(watts, end))]
    return sum((b - a) * (v + w) / 2 for (a, v), (b, w) in pairwise(points))


def count(joules: Curve, start: float, end: float, watts: Curve = ()) -> float:
    """Joules that a counter went up by, interpolated between its samples.

    A counter that goes back has wrapped only if power says that it used about so much meanwhile;
    else it was reset, and what it lost nobody knows.

    Raises:
        _UnusableError: it went back without a wrap; or as for ``integrate``.
    """
    _check(joules, start, end)
    unrolled, offset = [joules[0]], 0.0
    for (before, old), (now, new) in pairwise(joules):
        if new < old and now > start and before < end:
            offset += _wrap(old, new, before, now, watts)
        unrolled.append((now, new + offset))
    return _at(unrolled, end, sloped=True) - _at(unrolled, start, sloped=True)


def idle_power(
    gpu: _Samples,
    seconds: float = 2.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float | None:
    """Median power in watts over ``seconds``; None if it is not told. Nothing must be running."""
    seen: list[float] = []
    until = clock() + seconds
    while True:
        try:
            power = gpu.sample().power_watts
        except NvmlError:
            break
        if power is None:
            break
        seen.append(power)
        if clock() >= until:
            break
        sleep(PERIOD_SECONDS)
    return median(seen) if seen else None


def _tried(make: Callable[[], float]) -> tuple[float | None, str]:
    try:
        return make(), ""
    except _UnusableError as error:
        return None, str(error)


def _check(curve: Curve, start: float, end: float) -> None:
    inside = [t for t, _ in curve if start <= t <= end]
    if len(inside) < MIN_SAMPLES:
        took = f"{len(inside)} samples in {end - start:.2f} s"
        raise _UnusableError(f"{took}; energy needs {MIN_SAMPLES}")
    if curve[0][0] > start + HOLD_SECONDS or curve[-1][0] < end - HOLD_SECONDS:
        raise _UnusableError("sampling did not cover the timed phase")
    reach = [t for t, _ in curve]
    for before, now in pairwise(reach):
        if now - before > HOLE_SECONDS and now > start and before < end:
            raise _UnusableError(f"no samples for {now - before:.1f} s of the timed phase")


def _wrap(old: float, new: float, before: float, now: float, watts: Curve) -> float:
    around = [w for t, w in watts if before - HOLD_SECONDS <= t <= now + HOLD_SECONDS]
    if around:
        used = (now - before) * sum(around) / len(around)
        if abs(new - old + WRAP_JOULES - used) <= max(used, WRAP_SLACK_JOULES):
            return WRAP_JOULES
    raise _UnusableError(f"the energy counter went back by {old - new:.0f} J")


def _at(curve: Curve, moment: float, *, sloped: bool = False) -> float:
    """The curve's value; beyond its ends the outermost value, or the outermost line."""
    for (a, v), (b, w) in pairwise(curve):
        if a <= moment <= b:
            return v if b == a else v + (w - v) * (moment - a) / (b - a)
    first = moment < curve[0][0]
    if not sloped:
        return curve[0][1] if first else curve[-1][1]
    (a, v), (b, w) = (curve[0], curve[1]) if first else (curve[-2], curve[-1])
    return v if b == a else v + (w - v) * (moment - a) / (b - a)
