"""False alarms and power of verdicts on accuracy and on gaps over classes; docs/verdicts.md.

Usage: python benchmarks/accuracy/study_error_rates.py [STUDIES] [LINES]
Simulated, with the functions that judge records: studies of 5 workloads on one task, and of 4
workloads on 5 tasks, from 3 and 5 seeds. One workload is a point worse for the power. Lines are
over 5 to 100 classes, at the error of one of four workloads, and for the power the gap grows by
half a point per doubling.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))
from study_noise import (
    BEYOND,
    GAP_BEYOND,
    GAP_NOISE,
    MODELS,
    false_alarms,
    gaps,
    images_of,
    intervals,
)

from ffprof.analysis.statistics.lines import gap_line
from ffprof.analysis.statistics.looks import ERROR

SIZES = ((1, 5), (5, 4))  # tasks and workloads
SEEDS = (3, 5)
CLASSES = np.array([5.0, 10, 20, 50, 100])


def verdicts(model, studies, tasks, rows, seeds, alone):
    points = model(np.random.default_rng(1), (studies, tasks, rows, seeds))
    wrong = false_alarms(intervals(points, images=images_of(model), alone=alone))
    points[:, 0, 1] -= 1
    found = intervals(points, images=images_of(model), alone=alone)
    return f"{wrong:.1%}, {(found.middle + found.half < 0)[:, 0].mean():.0%}"


def lines(noise, studies, seeds):
    """False slopes, false ends of a line that starts at no gap, and slopes that are found."""
    rng, error = np.random.default_rng(2), ERROR / 4
    still = [gap_line(*gaps(rng, noise, CLASSES, seeds), error) for _ in range(studies)]
    rising = {"slope": 0.5, "level": 0.25 * np.log2(CLASSES[-1] / CLASSES[0])}
    grows = [gap_line(*gaps(rng, noise, CLASSES, seeds, **rising), error) for _ in range(studies)]
    wrong = np.mean([one.low > 0 or one.high < 0 for one in still])
    sign = np.mean([one.ends[0].high < 0 < one.ends[1].low for one in grows])
    return f"{wrong:.2%}, {sign:.2%}, {np.mean([one.low > 0 for one in grows]):.0%}"


def main():
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    print("false alarms a study, and a workload that is 1 point worse found; the same by t alone")
    for name, model in (MODELS | BEYOND).items():
        cells = [
            verdicts(model, studies, tasks, rows, seeds, alone)
            for tasks, rows in SIZES
            for seeds in SEEDS
            for alone in (False, True)
        ]
        print("| " + " | ".join([name, *cells]) + " |", flush=True)
    print(f"\nfalse slopes (at {ERROR / 4:.2%}), false changes of sign, 0.5 per doubling found")
    for name, noise in (GAP_NOISE | GAP_BEYOND).items():
        cells = [lines(noise, count, seeds) for seeds in (2, 3, 5)]
        print("| " + " | ".join([name, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
