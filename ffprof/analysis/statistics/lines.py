"""How a difference of two methods changes with a number, of classes or images: a line over log2 K.

    gap = level of the seed + slope * log2 K + noise

by least squares, so the slope is in points per doubling of K. What a seed shares over all K is in
its level. K is either number. Plain numbers come in, so that records, and what is not a record,
are treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ffprof.analysis.statistics.intervals import t_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FEWEST_CLASSES, FEWEST_SEEDS = 3, 2
BENT = 0.01  # of straight lines, this many are taken for bent


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The fitted gap at one K, in points, with its interval."""

    classes: float
    gap: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class GapLine:
    """The fitted line over log2 K; all intervals at the error that was asked for.

    ``slope`` is in points per doubling. ``ends`` are the smallest and the largest K. ``crossing``
    is where the line is zero, in classes, if that lies between them. ``departure`` is how far the
    means at one K are from the line at most, in points, and ``bent`` the chance that noise alone
    bends a line as much (F test of lack of fit); None where nothing is left to test with.
    """

    slope: float
    low: float
    high: float
    ends: tuple[Fitted, Fitted]
    crossing: float | None
    departure: float
    bent: float | None
    seeds: int
    classes: tuple[float, ...]


def gap_line(
    classes: Sequence[float],
    seeds: Sequence[int],
    gaps: Sequence[float],
    error: float,
    least: float = 0.0,
) -> GapLine | str:
    """Fit the line, or say why it cannot be fitted.

    Args:
        classes: K of every gap, above 0; one entry for each seed and K.
        seeds: the seed of every gap.
        gaps: in points.
        error: the chance that the interval of the slope may be wrong, both sides together.
        least: variance of one gap below which its scatter is not believed
            (``ffprof.analysis.statistics.differences.resolution``).

    Raises:
        ValueError: unequal lengths.
    """
    import numpy as np
    from scipy.special import fdtrc

    if not len(classes) == len(seeds) == len(gaps):
        raise ValueError("every gap needs its K and its seed")
    known, of_class = np.unique(np.asarray(classes, dtype=float), return_inverse=True)
    names, of_seed = np.unique(np.asarray(seeds), return_inverse=True)
    if len(known) < FEWEST_CLASSES:
        return f"a line needs {FEWEST_CLASSES} numbers, and there are {len(known)}"
    if len(names) < FEWEST_SEEDS:
        return f"a line needs {FEWEST_SEEDS} seeds, and there are {len(names)}"
    values, x = np.asarray(gaps, dtype=float), np.log2(known)[of_class]
    levels = np.eye(len(names))[of_seed]
    steps = np.eye(len(known))[of_class][:, 1:]
    line, freedom = _rest(np.column_stack([levels, x]), values)
    free, most = _rest(np.column_stack([levels, steps]), values)
    if freedom < 1:
        return "too few runs are left to say how much the gap scatters"

    # Inside seeds, the line is one through the origin.
    centred = x - (levels @ (levels.T @ x / levels.sum(axis=0)))
    spread = float(centred @ centred)
    if spread == 0:
        return "no seed has two of the numbers"
    slope = float(centred @ values / spread)
    variance = max(_slope_variance(centred, line, freedom, of_class), least / spread)
    half = _quantile(error, freedom) * variance**0.5
    heights = levels.T @ (values - slope * x) / levels.sum(axis=0)
    level, middle = float(heights.mean()), float((levels.T @ x / levels.sum(axis=0)).mean())
    scatter = max(float(heights.var(ddof=1)) / len(names), least / len(values))

    # Halves of intervals add in squares, each with its own quantile (Zou and Donner, 2008,
    # "Construction of confidence limits about effect measures", Statistics in Medicine 27): pooled
    # degrees of freedom would trust the few seeds too much.
    still = _quantile(error, len(names) - 1) * scatter**0.5

    def fitted(k: float) -> Fitted:
        at = float(np.log2(k))
        gap, wide = level + slope * at, float(np.hypot(still, half * (at - middle)))
        return Fitted(classes=float(k), gap=gap, low=gap - wide, high=gap + wide)

    zero = -level / slope if slope else np.inf  # as log2 K
    inside = np.log2(known[0]) < zero < np.log2(known[-1])
    more = freedom - most
    bent = None
    if more > 0 and most > 0:
        pure = max(float(free @ free) / most, least)
        extra = max(0.0, float(line @ line) - float(free @ free)) / more
        bent = float(fdtrc(more, most, extra / pure)) if pure > 0 else float(extra <= 1e-18)
    means = np.array([line[of_class == at].mean() for at in range(len(known))])
    return GapLine(
        slope=slope,
        low=slope - half,
        high=slope + half,
        ends=(fitted(known[0]), fitted(known[-1])),
        crossing=float(2**zero) if inside else None,
        departure=float(np.abs(means).max()),
        bent=bent,
        seeds=len(names),
        classes=tuple(map(float, known)),
    )


def _quantile(error: float, freedom: float) -> float:
    return float(t_quantile(1 - error / 2, freedom))


def _rest(design: Array, values: Array) -> tuple[Array, float]:
    """What is left of the values, and its degrees of freedom."""
    import numpy as np

    found, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    return values - design @ found, float(len(values) - rank)


def _slope_variance(
    centred: Array, rest: Array, freedom: float, of_class: NDArray[np.intp]
) -> float:
    """Of the slope: by the residuals of all K alike, or of each K, whichever is more.

    Accuracies of many classes scatter more than those of few, and where the ends, which decide the
    slope, are noisier than the middle, one variance for all is too small.
    """
    import numpy as np

    spread = float(centred @ centred)
    alike = float(rest @ rest) / freedom / spread
    each = np.array([np.mean(rest[of_class == at] ** 2) for at in range(of_class.max() + 1)])
    unlike = float(centred**2 @ each[of_class]) / spread**2 * len(rest) / freedom
    return max(alike, unlike)
