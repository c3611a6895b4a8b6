"""How accuracies scatter where no workload is better: points, (studies, tasks, rows, seeds).

Each model is a function of a random generator and a shape.
"""

import numpy as np

from ffprof.analysis.statistics.differences import noise_of_runs, paired_differences, resolution
from ffprof.analysis.statistics.intervals import Intervals
from ffprof.analysis.statistics.looks import ERROR

IMAGES = 10_000
FEW_IMAGES = 360  # the test set of digits


def normal(rng, shape):
    return rng.normal(0, 0.3, shape)


def seeds_shared(rng, shape):
    """All workloads do better from some seeds."""
    return rng.normal(0, 1, (shape[0], shape[1], 1, shape[3])) + rng.normal(0, 0.3, shape)


def skewed(rng, shape):
    return -0.3 * rng.exponential(1, shape)


def heavy_tails(rng, shape):
    return 0.2 * rng.standard_t(3, shape)


def tasks_unlike(rng, shape):
    """The last task is ten times as noisy as the first."""
    scale = np.geomspace(0.1, 1, shape[1]) if shape[1] > 1 else np.array([0.3])
    return rng.normal(0, 1, shape) * scale[:, None, None]


def rows_unlike(rng, shape):
    """Of two workloads, one is twice as noisy as the other in the median."""
    scale = 0.3 * np.exp(rng.normal(0, 0.7, (shape[0], 1, shape[2], 1)))
    return rng.normal(0, 1, shape) * scale


def one_noisy(times):
    def draw(rng, shape):
        points = rng.normal(0, 0.2, shape)
        points[:, :, -1] *= times
        return points

    return draw


def some_fall(rng, shape):
    """One run in five of every workload ends 3 points lower."""
    return rng.normal(0, 0.2, shape) - 3 * (rng.random(shape) < 0.2)


def counts(rng, shape):
    """A test set of 360 images, four of which are in doubt."""
    return 100 / FEW_IMAGES * rng.binomial(4, 0.5, shape)


def one_falls(share, depth):
    """One workload alone ends lower in a share of its runs; its mean is that of the others."""

    def draw(rng, shape):
        points = rng.normal(0, 0.2, shape)
        fell = rng.random((shape[0], shape[1], shape[3])) < share
        points[:, :, -1] -= depth * (fell - share)
        return points

    return draw


MODELS = {
    "normal, 0.3 points": normal,
    "seeds shared: 1 point, and 0.3": seeds_shared,
    "skewed": skewed,
    "heavy tails: t with 3 degrees of freedom": heavy_tails,
    "one run in five of any workload 3 points lower": some_fall,
    "360 test images, 4 in doubt": counts,
    "tasks unlike: noise of 0.1 to 1 points": tasks_unlike,
    "workloads unlike: twice as noisy or half": rows_unlike,
}
# What few seeds cannot know: docs/verdicts.md says how often it goes wrong.
BEYOND = {
    "one workload 3 times as noisy": one_noisy(3),
    "one workload 5 times as noisy": one_noisy(5),
    "one workload alone 2 points lower in half": one_falls(0.5, 2),
    "one workload alone 5 points lower in a fifth": one_falls(0.2, 5),
}


def intervals(points, *, images=IMAGES, alone=False):
    """Of every workload less the first in every task, as a study is judged.

    ``alone``: by the t interval of each pair by itself, for comparison.
    """
    _, tasks, rows, _ = points.shape
    least, error = resolution(images), ERROR / (tasks * (rows - 1))
    blocks = [points[:, task] for task in range(tasks)]
    noises = [None] * tasks if alone else noise_of_runs(blocks, least)
    found = [
        paired_differences(block[:, 1:], block[:, :1], error, noise, least)
        for block, noise in zip(blocks, noises, strict=True)
    ]
    return Intervals(
        middle=np.concatenate([one.middle for one in found], axis=-1),
        half=np.concatenate([one.half for one in found], axis=-1),
    )


def images_of(model):
    return FEW_IMAGES if model is counts else IMAGES


def false_alarms(found):
    """The share of studies in which anything was called better or worse."""
    return (np.abs(found.middle) > found.half).any(axis=-1).mean()


def gaps(rng, noise, classes, seeds, *, slope=0.0, level=0.0):
    """One study's gaps as lists of K, seed and points; ``noise`` is a function of K's place."""
    x = np.log2(classes)
    values = level + slope * (x - x.mean()) + noise(rng, (seeds, len(classes)))
    ks, names = np.tile(classes, seeds), np.repeat(np.arange(seeds), len(classes))
    return ks.tolist(), names.tolist(), values.ravel().tolist()


def _rising(rng, shape):
    return rng.normal(0, 1, shape) * np.geomspace(0.1, 1, shape[1])


GAP_NOISE = {
    "normal, 0.4 points": lambda rng, shape: rng.normal(0, 0.4, shape),
    "seeds shift the whole line by 1 point": lambda rng, shape: (
        rng.normal(0, 0.4, shape) + rng.normal(0, 1, (shape[0], 1))
    ),
    "heavy tails: t with 3 degrees of freedom": lambda rng, shape: 0.3 * rng.standard_t(3, shape),
    "noise of 0.1 points at the least K, 1 at the largest": _rising,
}
GAP_BEYOND = {
    "classes drawn for a K shift its gap by 0.3 points": lambda rng, shape: (
        rng.normal(0, 0.3, shape) + rng.normal(0, 0.3, (1, shape[1]))
    ),
}
