"""Paired comparison of rates: the process is the replicate, the round is the pair."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, variance

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
