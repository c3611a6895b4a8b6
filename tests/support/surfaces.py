"""Simulated methods: throughput that saturates in the micro-batch, memory in proportion to it.

Estimates are off by a factor of the method, and by some noise at every point; trials by theirs.
"""

import math
import random
from dataclasses import dataclass, replace

from ffprof.analysis.frontier.pareto import Candidate, Margins
from ffprof.analysis.frontier.racing import every_point, next_wave

SIZES = (4, 8, 16, 32, 64)
BATCH = 64


@dataclass
class Surface:
    """Points with their guesses, and the truth about each: (bytes, images per second)."""

    points: list
    truth: dict

    def seconds(self, id, steps=40, start=8.0):
        return start + steps * BATCH / self.truth[id][1]


def surface(seed, *, methods=6, sizes=SIZES, guess_noise=0.10, workloads=1, workload_noise=0.0):
    rng = random.Random(seed)
    points, truth = [], {}
    for number in range(methods):
        method, factor = f"m{number}", math.exp(rng.gauss(0, 0.3))
        for workload in range(workloads):
            top, knee = rng.uniform(80, 300), rng.uniform(0.5, 4)
            base, slope = rng.uniform(200, 800), rng.uniform(10, 60)
            # Estimates that are wrong about one workload, and not about others of its method.
            off = math.exp(rng.uniform(-1, 1) * workload_noise) if workload_noise else 1.0
            for size in sizes:
                memory, rate = base + slope * size, top * size / (size + knee)
                id = f"{method}-{workload}@{size}"
                truth[id] = (memory, rate)
                points.append(
                    Candidate(
                        id=id,
                        method=method,
                        series=f"{method}-{workload}",
                        size=size,
                        guess_memory=memory * math.exp(rng.uniform(-0.02, 0.02)),
                        guess_rate=rate * factor * off * math.exp(rng.gauss(0, guess_noise)),
                    )
                )
    return Surface(points, truth)


def explore(found, seed, *, rounds=5, margins=None, trial_noise=0.01, every=False):
    """Run waves until there are none: (points as known then, share of the time of all trials)."""
    margins, rng = margins or Margins(), random.Random(f"trials {seed}")
    points, spent = {p.id: p for p in found.points}, 0.0

    def wave():
        known = list(points.values())
        return every_point(known, rounds) if every else next_wave(known, rounds, margins)

    while ids := wave():
        assert len(set(ids)) == len(ids)
        for id in ids:
            memory, rate = found.truth[id]
            got = rate * math.exp(rng.gauss(0, trial_noise))
            one = points[id]
            points[id] = replace(one, memory=memory, rates=(*one.rates, got))
            spent += found.seconds(id)
    whole = rounds * sum(map(found.seconds, found.truth))
    return list(points.values()), spent / whole
