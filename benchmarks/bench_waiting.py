"""What it costs each row that waiting threads sleep (OMP_WAIT_POLICY=PASSIVE), and what it saves.

Audits under both policies alternate; a row's ratio is passive / active, paired by audit. With
--load N, N programs compute all the while.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean, stdev

import ffprof
from ffprof.analysis.statistics.intervals import t_quantile

POLICIES = {"passive": "PASSIVE", "active": None}
SPIN = "while True: pass"


def audit(folder: Path, policy: str | None, words: list[str]) -> dict[str, float]:
    """Images per second of each row of one audit."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if policy is not None:
        environment["OMP_WAIT_POLICY"] = policy
    subprocess.run(
        [
            sys.executable, "-m", "ffprof", "run", "--device", "cpu", "--rounds", "1",
            "--out", folder, *words,
        ],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    (path,) = folder.glob("audit-*.json")
    return {
        trial.workload: trial.throughput.images_per_second
        for trial in ffprof.load(path).trials
        if trial.throughput
    }


def main() -> None:
    """Print a line a row, and the mean of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--workloads", default="all")
    asked = parser.parse_args()
    words = ["--preset", asked.preset, "--workloads", asked.workloads]
    logs: dict[str, list[float]] = {}
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(asked.load)]
    try:
        for number in range(asked.pairs):
            rates = {}
            order = sorted(POLICIES, reverse=bool(number % 2))
            for name in order:
                with tempfile.TemporaryDirectory() as folder:
                    rates[name] = audit(Path(folder), POLICIES[name], words)
            pair = [rates["passive"][row] / rate for row, rate in rates["active"].items()]
            print(f"pair {number + 1}: {fmean(pair):.3f} in the mean of rows", flush=True)
            for row, rate in rates["passive"].items():
                if row in rates["active"]:
                    logs.setdefault(row, []).append(math.log(rate / rates["active"][row]))
    finally:
        for other in others:
            other.kill()
            other.wait()
    print(f"passive / active, {asked.pairs} pairs of audits, {asked.load} other programs")
    for row, ratios in logs.items():
        print(f"{row:24} {told(ratios)}")
    pairs = [fmean(one) for one in zip(*logs.values(), strict=True)]
    print(f"{'all rows':24} {told(pairs)}")


def told(ratios: list[float]) -> str:
    """The geometric mean with its 95 % interval."""
    middle, count = fmean(ratios), len(ratios)
    if count < 2:
        return f"{math.exp(middle):.3f}"
    half = t_quantile(0.975, count - 1) * stdev(ratios) / math.sqrt(count)
    return (
        f"{math.exp(middle):.3f} ({math.exp(middle - half):.3f} to {math.exp(middle + half):.3f})"
    )


if __name__ == "__main__":
    main()
