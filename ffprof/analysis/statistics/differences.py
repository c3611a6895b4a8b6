"""Differences of accuracies between runs, paired by seed, with intervals.

Accuracies are in percent, (..., rows, seeds), one block of rows a task; axes in front are studies
of their own. The run is the replicate. Three seeds say little about their own noise, so what rows
and tasks know of it is shared, as rounds share that of speeds (``ffprof.analysis.statistics.noise``
and docs/verdicts.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from ffprof.analysis.statistics.intervals import Intervals, t_quantile
from ffprof.analysis.statistics.noise import Noise, moderated, row_variances, shared_noise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CONFIDENCE = 0.95  # of the interval of one mean, which is no verdict
# What rows share counts as at most so many times what the seeds of one comparison tell. Methods
# differ in noise more than processes do, and few rows do not show it: without this, one row that is
# five times as noisy as four others had false alarms in 4 % of studies of three seeds, and with it
# in 2 % (docs/verdicts.md, "Accuracy").
MOST_SHARED = 2


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The mean of one figure over runs; without an interval (``half`` None) where there is one."""

    value: float
    sd: float | None
    half: float | None
    count: int


def mean_of(values: Sequence[float]) -> Mean | None:
    """Mean, standard deviation and half the width of Student's t interval (95 %); None of none."""
    count = len(values)
    if count < 2:
        return Mean(value=values[0], sd=None, half=None, count=1) if values else None
    sd = stdev(values)
    quantile = float(t_quantile(0.5 + CONFIDENCE / 2, count - 1))
    return Mean(value=fmean(values), sd=sd, half=quantile * sd / math.sqrt(count), count=count)


def resolution(images: int) -> float:
    """The variance, in squared points, below which no difference of accuracies is believed.

    Accuracies on ``images`` images are multiples of 100 / images, and rounding to steps of q has
    the variance q^2 / 12, on either side. Without it, three seeds that meet the same count by
    chance would leave no noise at all.
    """
    return (100 / images) ** 2 / 6


def noise_of_runs(blocks: Sequence[Array], least: float) -> list[Noise]:
    """What runs know of the variance of one difference, for each task.

    How noisy runs are, and how far that agrees, is known from all tasks together. No row is
    believed to be quieter than the mean of its own task, because tasks differ in noise.

    Args:
        blocks: (..., rows, seeds) of each task; two rows or more, and equally many seeds in all.
        least: as of ``resolution``.
    """
    import numpy as np

    freedom = blocks[0].shape[-1] - 1
    # Of two rows, only the difference is known, so they have one variance between them.
    variances = [
        np.maximum(2 * row_variances(block)[..., : block.shape[-2] if block.shape[-2] > 2 else 1],
                   least)
        for block in blocks
    ]  # fmt: skip
    together = shared_noise(np.concatenate(variances, axis=-1), freedom)
    rows = sum(block.shape[-2] - 1 for block in blocks)
    worth = np.minimum(together.freedom, min(rows, MOST_SHARED) * freedom)
    return [
        replace(together, freedom=worth, least=shared_noise(own, freedom).least)
        for own in variances
    ]


def paired_differences(
    ours: Array, theirs: Array, error: float, noise: Noise | None, least: float
) -> Intervals:
    """Means of ours - theirs over seeds, in points, with moderated t intervals.

    Args:
        ours: (..., comparisons, seeds), two seeds or more.
        theirs: what each is compared with.
        error: that one interval may be wrong with, both sides together.
        noise: of runs; None for each comparison's own alone.
        least: as of ``resolution``.
    """
    import numpy as np

    apart = ours - theirs
    seeds = apart.shape[-1]
    variances = np.asarray(apart.var(axis=-1, ddof=1))
    freedom: Array = np.full(variances.shape, float(seeds - 1))
    if noise is not None:
        variances, freedom = moderated(variances, seeds - 1, noise)
    half = t_quantile(1 - error / 2, freedom) * np.sqrt(np.maximum(variances, least) / seeds)
    return Intervals(middle=apart.mean(axis=-1), half=half)
