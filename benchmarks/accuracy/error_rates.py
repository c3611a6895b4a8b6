"""False alarms and power of verdicts on speed, by look and by model of noise; docs/verdicts.md.

Usage: python benchmarks/accuracy/error_rates.py [AUDITS] [CHANGE]
Simulated, with the functions that judge records: 17 rows, of which 16 are judged against the first;
two runs of which all rows are judged. CHANGE (0.1) is how much slower one row is.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))
from noise_models import BEYOND, MODELS

from ffprof.analysis.statistics.intervals import (
    ZONE,
    Intervals,
    change_intervals,
    paired_intervals,
    relative_to_all,
    t_quantile,
)
from ffprof.analysis.statistics.looks import LOOKS, error_of

ROWS = 17
EDGE = -np.log(1 - ZONE)
PAIRS = [(row, 0) for row in range(1, ROWS)]


def within(logs):
    return [paired_intervals(logs[..., :n], PAIRS, error_of(len(PAIRS))) for n in LOOKS]


def between(logs):
    half = logs.shape[-1] // 2
    before, after = logs[..., :half], logs[..., half:]
    return [
        change_intervals(*relative_to_all(before[..., :n], after[..., :n]), error_of(ROWS))
        for n in LOOKS
    ]


def alarms(looks):
    wrong = [(np.abs(one.middle) - one.half > EDGE).any(axis=-1) for one in looks]
    return f"{np.any(wrong, axis=0).mean():7.2%}"


def power(looks, row):
    found = [(one.middle + one.half < -EDGE)[:, row].mean() for one in looks]
    return " ".join(f"{share:6.1%}" for share in found)


def alone(logs):
    """What Student's t interval of each pair by itself says, for comparison."""
    found = []
    for n in LOOKS:
        ratios = (logs[:, 1:] - logs[:, :1])[..., :n]
        quantile = t_quantile(1 - error_of(len(PAIRS)) / 2, np.float64(n - 1))
        half = quantile * ratios.std(axis=-1, ddof=1) / np.sqrt(n)
        found.append(Intervals(middle=ratios.mean(axis=-1), half=half))
    return found


def main():
    audits = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    change = float(sys.argv[2]) if len(sys.argv) > 2 else 0.1
    told = f"a change of {change:.0%} found at {', '.join(map(str, LOOKS))} rounds"
    print(f"{audits} audits of {ROWS} rows a model; false alarms an audit; {told}")
    print(f"{'':54} {'within a run':^29}  {'between two runs':^29}  {'t alone':^29}")
    for name, model in (MODELS | BEYOND).items():
        rng = np.random.default_rng(1)
        one = model(rng, (audits, ROWS, LOOKS[-1]))
        two = model(rng, (audits, ROWS, 2 * LOOKS[-1]))
        quiet = alarms(within(one)), alarms(between(two)), alarms(alone(one))
        one[:, 1] += np.log(1 - change)
        two[:, 1, LOOKS[-1] :] += np.log(1 - change)
        found = power(within(one), 0), power(between(two), 1)
        found += (power(alone(one), 0),)
        print(f"{name:54} " + "  ".join(" ".join(pair) for pair in zip(quiet, found, strict=True)))


if __name__ == "__main__":
    main()
