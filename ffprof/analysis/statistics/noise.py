"""How much processes of one row differ in speed, and what the rows of an audit know together.

Five processes of one row say little about their own noise: whichever of two speeds all of them
happened to meet, they agree. The rows of an audit ran interleaved on one machine, so what is known
of one row's noise is known of the others', too, as far as their variances agree. That is the
moderated variance of Smyth (2004), "Linear models and empirical Bayes methods for assessing
differential expression in microarray experiments", Statistical Applications in Genetics and
Molecular Biology 3(1), article 3, section 4 and equations for d0 and s0 in section 6.2; that a
row's variance never counts as less than what the rows share is ours (docs/verdicts.md).

What all workloads of a round share (heat, another user of the machine) cancels in ratios of the
same rounds; so noise is what is left without it, and the machine's drift is told by itself.

Arrays may have further axes in front, one audit each; ``n`` rounds are the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FEWEST_ROWS = 5  # below, too few variances to say how far they agree
FEWEST_FOR_ONE_LEFT_OUT = 8  # a single noisy row should not blind the others
UNLIKE = 0.01  # of rows as noisy as the others, this many are taken for noisier
SMALLEST = 1e-12  # variance of logarithms: no clock tells two speeds apart by less than 1e-6


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What rows share: a variance of logarithms, and the degrees of freedom it is worth.

    ``least`` is what no row's variance counts as less than: the mean over rows, which is more than
    ``variance`` where rows differ in noise. With ``freedom`` 0, rows share only that.
    """

    variance: Array
    freedom: Array
    least: Array


def row_variances(logs: Array) -> Array:
    """Variance between processes of each row, shared changes of the machine taken out.

    ``logs`` are logarithms of rates, (..., rows, rounds). What remains of them without the means of
    row and round (a randomised block design) has (rows - 1) (rounds - 1) degrees of freedom in all;
    its squares in one row, divided by an equal part of those, scatter like a variance of
    rounds - 1. With one row there is nothing to take out.
    """
    import numpy as np

    rows, rounds = logs.shape[-2:]
    rest = logs - logs.mean(axis=-1, keepdims=True)
    if rows == 1:
        return np.asarray((rest**2).sum(axis=-1) / (rounds - 1))
    rest = rest - rest.mean(axis=-2, keepdims=True)
    return np.asarray((rest**2).sum(axis=-1) / ((rounds - 1) * (rows - 1) / rows))


def shared_noise(variances: Array, freedom: float) -> Noise:
    """What ``variances`` (..., rows), each of so many degrees of freedom, say together.

    Their logarithms scatter by trigamma(freedom / 2) if all rows are equally noisy. If they scatter
    more, rows differ in noise, and the shared variance is worth fewer degrees of freedom, never
    more than all rows have.
    """
    import numpy as np
    from scipy.special import digamma, polygamma

    rows = variances.shape[-1]
    known = np.maximum(variances, SMALLEST)
    quiet = np.sort(known, axis=-1)[..., : rows - (rows >= FEWEST_FOR_ONE_LEFT_OUT)]
    least = quiet.mean(axis=-1)
    if rows < FEWEST_ROWS:
        return Noise(variance=least, freedom=np.zeros_like(least), least=least)
    logs = np.log(known) - digamma(freedom / 2) + np.log(freedom / 2)
    excess = logs.var(axis=-1, ddof=1) - polygamma(1, freedom / 2)
    most = (rows - 1) * freedom
    worth = np.minimum(2 * _inverse_trigamma(np.maximum(excess, 1e-6)), most)
    centre = logs.mean(axis=-1) + digamma(worth / 2) - np.log(worth / 2)
    return Noise(variance=np.exp(centre), freedom=worth, least=least)


def moderated(variances: Array, freedom: float, noise: Noise) -> tuple[Array, Array]:
    """Variances (..., rows) with what rows share, and the degrees of freedom of each.

    The mean of the two, each weighted by its degrees of freedom, and at least ``noise.least``. A
    row that is noisier than the shared noise explains (an F test at ``UNLIKE``) knows better what
    its noise is, and keeps its own, as in the robust form of Phipson and others (2016), "Robust
    hyperparameter estimation protects against hypervariable genes", Annals of Applied Statistics
    10(2), there by degrees and here by a threshold.
    """
    import numpy as np
    from scipy.special import fdtrc

    shared, worth = noise.variance[..., None], noise.freedom[..., None]
    least = np.maximum(noise.least[..., None], shared)
    mixed = (worth * shared + freedom * variances) / (worth + freedom)
    alone = fdtrc(freedom, np.maximum(worth, 1e-9), variances / shared) < UNLIKE
    return (
        np.maximum(np.where(alone, variances, mixed), least),
        np.where(alone, float(freedom), worth + freedom),
    )


def _inverse_trigamma(values: Array) -> Array:
    """Where trigamma has these values; Newton's method of Smyth (2004), appendix."""
    import numpy as np
    from scipy.special import polygamma

    found = 0.5 + 1 / values
    for _ in range(50):
        value = polygamma(1, found)
        step = value * (1 - value / values) / polygamma(2, found)
        found = found + step
        if np.max(-step / found) < 1e-8:
            break
    return np.asarray(found)


FEWEST_OF_A_SPEED = 3
FEWEST_PROCESSES = 8
# A gap of this many standard deviations inside the groups. Under normal noise, 8 processes show
# one in 15 of 1,000 cases, 10 in 5, 16 in fewer than 1 (tests/unit/analysis/test_noise.py).
GAP = 4.0


@dataclass(frozen=True, kw_only=True)
class ProcessNoise:
    """Of one workload: the standard deviation of log(images per second) between processes.

    ``freedom`` is the degrees of freedom of its square. ``residuals`` are what is left of each
    process's logarithm, in the order of rounds, without the row's mean and the round's median of
    the other rows: one row with two speeds must not show in the others, as it would in a mean.
    """

    sd: float
    freedom: int
    residuals: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Of the machine: the standard deviation of the rounds' means of log(images per second).

    ``expected`` is what independent noise of the workloads alone would give, and ``chance`` how
    probable it is that it gives as much as ``sd`` (an F test; exact for equally noisy rows).
    """

    sd: float
    expected: float
    chance: float


@dataclass(frozen=True, kw_only=True)
class TwoSpeeds:
    """Two groups of processes with a gap between them; ``ratio`` of their speeds, above 1."""

    slow: int
    fast: int
    ratio: float


def noise_of(logs: Sequence[Sequence[float]]) -> list[ProcessNoise]:
    """The noise of every row of a table with one row a workload and one column a round.

    A model of two ways: y_ij = a_i + b_j + e_ij, speed of row i plus state of the machine in round
    j plus noise of variance s_i^2. Residuals are r_ij = y_ij - mean_i - mean_j + mean. For R rows
    and n rounds, e_ij - mean_j has the variance s_i^2 (1 - 2/R) + (sum of all s_k^2) / R^2, and
    taking the mean over rounds from it leaves n - 1 independent rounds. With equal s that is
    s^2 (R - 1)/R, so the squares of a row's residuals, divided by (R - 1)(n - 1)/R, have the
    expectation s^2, without bias. This divisor is the row's share of the table's (R - 1)(n - 1)
    degrees of freedom; the quotient itself scatters like a variance of n - 1. With unequal s the
    expectation is

        (1 - 1/(R - 1)) s_i^2 + 1/(R - 1) (mean of all s_k^2):

    too much for a row that is quieter than the others, too little for a noisier one, right for all
    together. It is never negative, as the estimate that would be right for each row can be. Two
    rows get the same figure, because only their difference is known.

    One row alone cannot be distinguished from the machine: the plain standard deviation, n - 1
    degrees.

    Raises:
        ValueError: no row, rows of unequal lengths, or fewer than two rounds.
    """
    import numpy as np

    rows, rounds = _shape(logs)
    table = np.array(logs, dtype=float)
    left = table - table.mean(axis=1, keepdims=True)
    if rows > 1:
        left = left - _median_of_others(left)
    return [
        ProcessNoise(sd=math.sqrt(variance), freedom=rounds - 1, residuals=tuple(map(float, row)))
        for variance, row in zip(row_variances(table), left, strict=True)
    ]


def drift_of(logs: Sequence[Sequence[float]]) -> Drift | None:
    """How far rounds as a whole are apart; None for one row, which is not told from its noise.

    Raises:
        ValueError: as in ``noise_of``.
    """
    from scipy.special import fdtrc

    rows, rounds = _shape(logs)
    if rows == 1:
        return None
    states = [fmean(column) for column in zip(*logs, strict=True)]
    variance = fmean(noise.sd**2 for noise in noise_of(logs))
    moved, expected = stdev(states), math.sqrt(variance / rows)
    if expected == 0:
        return Drift(sd=moved, expected=0.0, chance=0.0 if moved else 1.0)
    ratio = (moved / expected) ** 2
    chance = float(fdtrc(rounds - 1, (rows - 1) * (rounds - 1), ratio))
    return Drift(sd=moved, expected=expected, chance=chance)


def two_speeds(values: Sequence[float]) -> TwoSpeeds | None:
    """Whether logarithms of speeds fall into two groups, cut at the largest gap between them.

    Each group has at least three processes, and the gap is at least ``GAP`` standard deviations
    inside the groups (pooled). None otherwise, and with fewer than ``FEWEST_PROCESSES``.
    """
    if len(values) < FEWEST_PROCESSES:
        return None
    ordered = sorted(values)
    cuts = range(FEWEST_OF_A_SPEED, len(ordered) - FEWEST_OF_A_SPEED + 1)
    cut = max(cuts, key=lambda k: ordered[k] - ordered[k - 1])
    slow, fast = ordered[:cut], ordered[cut:]
    squares = math.fsum((v - fmean(group)) ** 2 for group in (slow, fast) for v in group)
    inside = math.sqrt(squares / (len(ordered) - 2))
    gap = fast[0] - slow[-1]
    if gap <= 0 or gap < GAP * inside:
        return None
    ratio = math.exp(fmean(fast) - fmean(slow))
    return TwoSpeeds(slow=len(slow), fast=len(fast), ratio=ratio)


def _median_of_others(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """In every round, for every row."""
    import numpy as np

    return np.array([np.median(np.delete(table, row, axis=0), axis=0) for row in range(len(table))])


def _shape(logs: Sequence[Sequence[float]]) -> tuple[int, int]:
    lengths = {len(row) for row in logs}
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError("noise needs rows of equally many rounds, at least two")
    return len(logs), lengths.pop()
