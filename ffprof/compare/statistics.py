"""Paired comparison of rates: the process is the replicate, the round is the pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_ROUNDS = 5  # below, only ratios are printed
ZONE = 0.03  # rates within 3 % count as the same; noise never widens it
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class RatioInterval:
    """Geometric mean of paired ratios with a t interval on their logarithms."""

    ratio: float
    low: float | None
    high: float | None
    pairs: int


def paired_ratio(
    challenger: Sequence[float], baseline: Sequence[float], confidence: float = CONFIDENCE
) -> RatioInterval:
    """Ratio challenger / baseline over pairs; the interval is None below ``MIN_ROUNDS`` pairs.

    Student's t interval on log(challenger_i / baseline_i), with n - 1 degrees of freedom.

    Raises:
        ValueError: no pairs, unequal lengths, or a rate that is not positive.
    """
    if not challenger or len(challenger) != len(baseline):
        raise ValueError("paired rates need equally many trials, at least one, on both sides")
    if min(*challenger, *baseline) <= 0:
        raise ValueError("rates must be positive")
    logs = [math.log(a / b) for a, b in zip(challenger, baseline, strict=True)]
    count = len(logs)
    mean = math.fsum(logs) / count
    if count < MIN_ROUNDS:
        return RatioInterval(ratio=math.exp(mean), low=None, high=None, pairs=count)
    variance = math.fsum((value - mean) ** 2 for value in logs) / (count - 1)
    half = _t_quantile(0.5 + confidence / 2, count - 1) * math.sqrt(variance / count)
    return RatioInterval(
        ratio=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half), pairs=count
    )


def _t_quantile(probability: float, degrees: int) -> float:
    from scipy.special import stdtrit  # scipy.stats takes four times as long to import

    return float(stdtrit(degrees, probability))
