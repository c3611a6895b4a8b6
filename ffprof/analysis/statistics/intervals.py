"""Intervals of ratios of speeds: within one run, paired by round, and between two.

Everything is on logarithms of images per second, (..., rows, rounds); the process is the replicate.
Axes in front are audits of their own. ``error`` is the chance of being wrong that one interval has,
both sides together (``ffprof.analysis.statistics.looks``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, variance
from typing import TYPE_CHECKING

from ffprof.analysis.statistics.noise import moderated, row_variances, shared_noise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_Part = tuple["Array", "Array | float"]  # variance of a mean, and what it is worth


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Differences of mean logarithms, with half the width of their intervals."""

    middle: Array
    half: Array


def paired_intervals(
    logs: Array,
    pairs: Sequence[tuple[int, int]],
    error: float,
    floors: Sequence[float] | None = None,
) -> Intervals:
    """Log ratios row i / row j of one run for every pair (i, j): Student's t, paired by round.

    The variance of a pair's log ratio is moderated by what all rows share (``compare.noise``).
    ``floors`` are variances of rows, known from elsewhere, below which noise is not believed.
    """
    import numpy as np

    rounds = logs.shape[-1]
    ours, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    ratios = logs[..., ours, :] - logs[..., theirs, :]
    noise = shared_noise(2 * row_variances(logs), rounds - 1)
    variances, freedom = moderated(ratios.var(axis=-1, ddof=1), rounds - 1, noise)
    if floors is not None:
        known = np.array(floors)
        variances = np.maximum(variances, known[ours] + known[theirs])
    half = t_quantile(1 - error / 2, freedom) * np.sqrt(variances / rounds)
    return Intervals(middle=ratios.mean(axis=-1), half=half)


def relative_to_all(before: Array, after: Array) -> tuple[Array, Array]:
    """Logarithms less what happened to all rows of the same round, in the median.

    Each round of either run is compared with the rows' means before.
    What slows a whole machine down is gone then, and as long as fewer than half of the rows
    changed, the median is one of a row that did not. Axes as everywhere; the rows of the two are
    the same.
    """
    import numpy as np

    usual = before.mean(axis=-1, keepdims=True)
    return (
        before - np.median(before - usual, axis=-2, keepdims=True),
        after - np.median(after - usual, axis=-2, keepdims=True),
    )


def relative_to(logs: Array, reference: Sequence[int]) -> Array:
    """Logarithms less the mean of the reference rows of the same round."""
    import numpy as np

    return np.asarray(logs - logs[..., list(reference), :].mean(axis=-2, keepdims=True))


def change_intervals(
    before: Array, after: Array, error: float, floors: Sequence[float] | None = None
) -> Intervals:
    """Log ratios after / before of every row, by Welch's test with moderated variances.

    ``before`` and ``after`` have equal rows, and rounds and noise of their own; the degrees of
    freedom of the sum are Satterthwaite's. Both should be relative to other rows of their rounds
    (``relative_to_all``): what differs between two runs as a whole is no noise of processes.
    ``floors`` as in ``paired_intervals``.
    """
    parts = [_of_mean(logs, floors) for logs in (before, after)]
    return Intervals(middle=_change(before, after), half=_half(parts, error))


def absolute_intervals(
    before: Array, after: Array, error: float, floors: Sequence[float] | None = None
) -> Intervals:
    """Log ratios after / before of every row, in images per second, of two runs on one machine.

    Runs are not interleaved: how much the machine as a whole changes between rounds is taken for
    how much it may have changed between the runs, and more rounds do not make that smaller.
    """
    parts = [_of_mean(_without_rounds(logs), floors) for logs in (before, after)]
    parts += [
        (logs.mean(axis=-2).var(axis=-1, ddof=1)[..., None], float(logs.shape[-1] - 1))
        for logs in (before, after)
    ]
    return Intervals(middle=_change(before, after), half=_half(parts, error))


def t_quantile(probability: float, freedom: Array | float) -> Array:
    """Quantile of Student's t."""
    import numpy as np
    from scipy.special import stdtrit  # scipy.stats takes four times as long to import

    return np.asarray(stdtrit(freedom, probability))


def _of_mean(logs: Array, floors: Sequence[float] | None) -> _Part:
    """Variance of every row's mean over one run, and its degrees of freedom."""
    import numpy as np

    rounds = logs.shape[-1]
    own = logs.var(axis=-1, ddof=1)
    variances, freedom = moderated(own, rounds - 1, shared_noise(own, rounds - 1))
    if floors is not None:
        variances = np.maximum(variances, np.array(floors))
    return variances / rounds, freedom


def _half(parts: Sequence[_Part], error: float) -> Array:
    """Half the width of an interval whose variance is the sum of ``parts``."""
    import numpy as np

    tiny = np.finfo(float).tiny
    total = np.asarray(sum(variance for variance, _ in parts)) + tiny
    # As shares of the whole, so that squares of tiny variances stay numbers.
    freedom = 1 / np.asarray(sum((part / total) ** 2 / worth for part, worth in parts) + tiny)
    return t_quantile(1 - error / 2, freedom) * np.sqrt(total)


def _change(before: Array, after: Array) -> Array:
    import numpy as np

    return np.asarray(after.mean(axis=-1) - before.mean(axis=-1))


def _without_rounds(logs: Array) -> Array:
    return logs if logs.shape[-2] == 1 else logs - logs.mean(axis=-2, keepdims=True)


MIN_ROUNDS = 5  # below, only ratios are printed
ZONE = 0.03  # rates within 3 % count as the same; noise never widens it
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class RatioInterval:
    """Paired ratios drawn together: a median, or a mean with its interval where there is one."""

    ratio: float
    low: float | None
    high: float | None
    pairs: int


def paired_ratio(
    challenger: Sequence[float], baseline: Sequence[float], confidence: float = CONFIDENCE
) -> RatioInterval:
    """Ratio challenger / baseline over pairs; the interval is None below ``MIN_ROUNDS`` pairs.

    Below, the ratio is the median of the pairs' ratios, which one disturbed trial does not move
    far. From there on it is their geometric mean, with Student's t interval on
    log(challenger_i / baseline_i) and n - 1 degrees of freedom.

    Raises:
        ValueError: no pairs, unequal lengths, or a rate that is not positive.
    """
    if not challenger or len(challenger) != len(baseline):
        raise ValueError("paired rates need equally many trials, at least one, on both sides")
    if min(*challenger, *baseline) <= 0:
        raise ValueError("rates must be positive")
    logs = [math.log(a / b) for a, b in zip(challenger, baseline, strict=True)]
    count = len(logs)
    if count < MIN_ROUNDS:
        return RatioInterval(ratio=math.exp(median(logs)), low=None, high=None, pairs=count)
    mean = math.fsum(logs) / count
    squares = math.fsum((value - mean) ** 2 for value in logs) / (count - 1)
    half = _t_quantile(0.5 + confidence / 2, count - 1) * math.sqrt(squares / count)
    return RatioInterval(
        ratio=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half), pairs=count
    )


def ratio_of(log: float) -> float:
    """The ratio that a logarithm is of; within floats, whatever rates a file may hold."""
    return math.exp(max(-700.0, min(700.0, log)))


def _t_quantile(probability: float, degrees: int) -> float:
    from scipy.special import stdtrit  # scipy.stats takes four times as long to import

    return float(stdtrit(degrees, probability))


# Two figures of one kind differ by less than twice the standard deviation of their difference in
# 19 of 20 cases.
_DEVIATIONS = 2 * math.sqrt(2)


def difference(groups: Iterable[Sequence[float]], fewest: int) -> float | None:
    """By how much two values of one group differ at most, in 19 of 20 cases; pooled over groups.

    None below ``fewest`` degrees of freedom.
    """
    freedom, squares = 0, 0.0
    for values in groups:
        if len(values) > 1:
            freedom += len(values) - 1
            squares += (len(values) - 1) * variance(values)
    return None if freedom < max(1, fewest) else _DEVIATIONS * math.sqrt(squares / freedom)
