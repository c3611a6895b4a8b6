"""Paired comparison of rates: the process is the replicate, the round is the pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

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
    variance = math.fsum((value - mean) ** 2 for value in logs) / (count - 1)
    half = _t_quantile(0.5 + confidence / 2, count - 1) * math.sqrt(variance / count)
    return RatioInterval(
        ratio=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half), pairs=count
    )


def _t_quantile(probability: float, degrees: int) -> float:
    from scipy.special import stdtrit  # scipy.stats takes four times as long to import

    return float(stdtrit(degrees, probability))
