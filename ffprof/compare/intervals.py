"""Intervals of ratios of speeds: within one run, and between two.

Everything is on logarithms of images per second, (..., rows, rounds); the process is the replicate.
Axes in front are audits of their own. ``error`` is the chance of being wrong that one interval has,
both sides together (``ffprof.compare.looks``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ffprof.compare.noise import moderated, row_variances, shared_noise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


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


def relative_to_others(before: Array, after: Array) -> tuple[Array, Array]:
    """Logarithms less what became of the other rows in the same round, in the median.

    How each round of either run differs from the row's mean before is what its other rows are
    asked for. What slows a whole machine down is gone then, and what became of a few rows hardly
    touches the others. Axes as everywhere; the rows of the two are the same.
    """
    import numpy as np

    usual = before.mean(axis=-1, keepdims=True)
    rows = before.shape[-2]

    def relative(logs: Array) -> Array:
        moved = logs - usual
        others = [
            np.median(np.delete(moved, row, axis=-2), axis=-2, keepdims=True) for row in range(rows)
        ]
        return np.asarray(logs - np.concatenate(others, axis=-2))

    return relative(before), relative(after)


def relative_to(logs: Array, reference: Sequence[int]) -> Array:
    """Logarithms less the mean of the reference rows of the same round."""
    import numpy as np

    return np.asarray(logs - logs[..., list(reference), :].mean(axis=-2, keepdims=True))


def change_intervals(
    before: Array, after: Array, error: float, floors: Sequence[float] | None = None
) -> Intervals:
    """Log ratios after / before of every row: Welch's situation with one moderated variance.

    ``before`` and ``after`` have equal rows, and rounds of their own. They should be relative to
    other rows of their rounds: what differs between two runs as a whole is no noise of processes.
    ``floors`` as in ``paired_intervals``.
    """
    spread, freedom = _spread(before, after, floors)
    middle = after.mean(axis=-1) - before.mean(axis=-1)
    return Intervals(middle=middle, half=t_quantile(1 - error / 2, freedom) * spread)


def absolute_intervals(
    before: Array, after: Array, error: float, floors: Sequence[float] | None = None
) -> Intervals:
    """Log ratios after / before of every row, in images per second, of two runs on one machine.

    Runs are not interleaved: how much the machine as a whole changes between rounds is taken for
    how much it may have changed between the runs, and more rounds do not make that smaller. The
    degrees of freedom of the sum are Satterthwaite's.
    """
    import numpy as np

    spread, worth = _spread(_without_rounds(before), _without_rounds(after), floors)
    freedom = before.shape[-1] + after.shape[-1] - 2
    drift = 2 * _pooled(before.mean(axis=-2), after.mean(axis=-2))[..., None]
    total = spread**2 + drift
    known = total**2 / (spread**4 / worth + drift**2 / freedom + np.finfo(float).tiny)
    half = t_quantile(1 - error / 2, np.maximum(known, 1.0)) * np.sqrt(total)
    return Intervals(middle=after.mean(axis=-1) - before.mean(axis=-1), half=half)


def t_quantile(probability: float, freedom: Array) -> Array:
    """Quantile of Student's t."""
    import numpy as np
    from scipy.special import stdtrit  # scipy.stats takes four times as long to import

    return np.asarray(stdtrit(freedom, probability))


def _spread(before: Array, after: Array, floors: Sequence[float] | None) -> tuple[Array, Array]:
    """Standard error of every row's difference of means, and its degrees of freedom."""
    import numpy as np

    freedom = before.shape[-1] + after.shape[-1] - 2
    own = _pooled(before, after)
    variances, known = moderated(own, freedom, shared_noise(own, freedom))
    if floors is not None:
        variances = np.maximum(variances, np.array(floors))
    return np.sqrt(variances * (1 / before.shape[-1] + 1 / after.shape[-1])), known


def _pooled(before: Array, after: Array) -> Array:
    """Variance between rounds, over both runs."""
    import numpy as np

    squares = [(logs.shape[-1] - 1) * logs.var(axis=-1, ddof=1) for logs in (before, after)]
    freedom = before.shape[-1] + after.shape[-1] - 2
    return np.asarray((squares[0] + squares[1]) / freedom)


def _without_rounds(logs: Array) -> Array:
    return logs if logs.shape[-2] == 1 else logs - logs.mean(axis=-2, keepdims=True)
