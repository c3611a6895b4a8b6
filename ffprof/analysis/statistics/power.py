"""The smallest change of speed that a comparison finds, given the noise of the machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from ffprof.analysis.statistics.intervals import ZONE
from ffprof.analysis.statistics.looks import error_of
from ffprof.analysis.statistics.noise import FEWEST_ROWS as POOLING_ROWS

POWER = 0.95  # the chance of finding a change of the size that is stated


def smallest_change(sd: float, rounds: int, claims: int, freedom: float) -> float:
    """The least loss of speed, 0 to 1, that one look finds with the probability ``POWER``.

    A row's mean logarithm over ``rounds`` rounds has the variance sd^2 / rounds, and the ratio of
    two rows, or of a row before and after, twice that. A verdict needs the whole interval,
    t * sqrt(2 sd^2 / rounds) to both sides of the ratio, beyond the zone of 3 %. The distance from
    the zone over its estimated standard error follows the noncentral t distribution; the change
    stated is the one whose noncentrality lets it exceed the quantile t with the probability
    ``POWER``. With much freedom that is

        -log(1 - ZONE) + (t + 1.645) * sqrt(2 sd^2 / rounds),

    with little freedom more, because an interval that is too wide by chance hides what is there.
    As logarithms the change is the same in both directions: a loss of 1/5 is a gain of 1/4.

    Args:
        sd: standard deviation of log(images per second) between processes.
        rounds: of each side.
        claims: how many are judged together; they share the error rate (``looks``).
        freedom: degrees of freedom that the noise is known with when the verdict is made.

    Raises:
        ValueError: no claim, no round, no freedom, or an sd below 0.
    """
    if rounds < 1 or not freedom > 0 or not sd >= 0:
        raise ValueError("a change is seen with rounds, with freedom and with an sd of 0 or more")
    error = error_of(claims)
    apart = _noncentrality(1 - error / 2, freedom) * math.sqrt(2 * sd * sd / rounds)
    return -math.expm1(math.log(1 - ZONE) - apart)


def smallest_changes(deviations: Sequence[float], rounds: int) -> list[float]:
    """For every workload, the least loss of speed that ``compare.two_runs`` finds between two runs.

    A speed is relative to the median of all R rows of its round. Seen from one row, it is the
    median of the m = R - 1 others, which adds the mean of their variances times pi / (2 m), the
    variance of the median of many normal values; and it goes a little with a row that changed
    (``_dragged``), which must be made up for. With ``POOLING_ROWS`` rows the noise of one is known
    with about half the freedom of all in one run, otherwise with half as much again as its own.
    One row alone is judged by images per second: the state of
    the machine, which is in its noise, counts once for each run in addition to that of the rounds,
    and more rounds do not make that part smaller. All of it is simulated in
    tests/unit/analysis/test_power.py.

    Args:
        deviations: of the workloads, as ``sd`` of ``smallest_change``.
        rounds: of each run.

    Raises:
        ValueError: as in ``smallest_change``.
    """
    rows, claims = len(deviations), claims_of(len(deviations))
    if rows == 1:
        alone = deviations[0] * math.sqrt(1 + rounds)
        return [smallest_change(alone, rounds, claims, 2 * (rounds - 1))]
    freedom = known_freedom(rows, rounds, alone=1.5)
    total = math.fsum(sd * sd for sd in deviations)
    others = rows - 1
    share = math.pi / (2 * others) if others > 1 else 1.0
    found = []
    for sd in deviations:
        theirs = max(0.0, total - sd * sd) / others
        one = smallest_change(math.sqrt(sd * sd + share * theirs), rounds, claims, freedom)
        apart = _dragged(rows) * math.sqrt(theirs) if others > 1 else 0.0
        found.append(1 - (1 - one) * math.exp(-apart))
    return found


def known_freedom(rows: int, rounds: int, alone: float) -> float:
    """With how many degrees of freedom the noise of one of ``rows`` rows is about known.

    ``alone`` is how much of one row's own it is where rows are too few to know of each other.
    """
    return ((rows - 1) / 2 if rows >= POOLING_ROWS else alone) * (rounds - 1)


def _dragged(rows: int) -> float:
    """How far the median of standard normal values goes with one of them that is far below.

    The others' middle is then one place lower: the expectation of that place, or the mean of two,
    by Blom's approximation.
    """
    from scipy.special import ndtri

    others = rows - 1
    places = (others // 2,) if rows % 2 else (rows // 2 - 1, rows // 2)
    return -fmean(float(ndtri((place - 0.375) / (others + 0.25))) for place in places)


def claims_of(rows: int) -> int:
    """How many changes a comparison of two runs judges; of two rows, one relative to the other."""
    return rows if rows > 2 else 1


def _noncentrality(probability: float, freedom: float) -> float:
    """That of a t variable which exceeds the central quantile with the probability ``POWER``."""
    from scipy.special import nctdtr, ndtri, stdtrit

    quantile = float(stdtrit(freedom, probability))
    low, high = quantile, quantile + float(ndtri(POWER))
    while nctdtr(freedom, high, quantile) > 1 - POWER:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if nctdtr(freedom, middle, quantile) > 1 - POWER:
            low = middle
        else:
            high = middle
    return high
