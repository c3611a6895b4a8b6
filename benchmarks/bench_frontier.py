"""What the pruning of ``ffprof frontier`` saves and misses, on a recorded frontier of all points.

    ffprof frontier --device cpu --all-points --out DIR
    python benchmarks/bench_frontier.py DIR/frontier-*.json [--quiet]

The recorded trials are handed out as if they were measured anew: the same point gives the same
trials, so what differs between the two frontiers is what pruning did. Told as well: how far
corrected estimates were off, which is what the margins must cover.

On a machine that others use, trials of one point differ so much that pruning rightly runs nearly
everything. With ``--quiet`` the fastest trial of every point, the least disturbed, stands for its
speed, and its trials differ from that by 1 % (standard deviation): what an idle machine might give.
"""

from __future__ import annotations

import math
import random
import sys
from statistics import median

from ffprof.analysis.frontier.pareto import promise
from ffprof.analysis.frontier.standings import candidates, margins_of, settle, wave
from ffprof.errors import FfprofError
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.records.store import load_frontier

QUIET_NOISE = 0.01
QUIET_TIMES = 20


def quietened(full: FrontierRecord, seed: int) -> FrontierRecord:
    """The record with every trial replaced by its point's fastest one, give or take."""
    rng = random.Random(seed)

    def calm(point: Point) -> Point:
        good = [t for t in point.trials if t.throughput is not None]
        if not good:
            return point
        best = max(good, key=lambda t: t.throughput.images_per_second)
        made = []
        for trial in point.trials:
            rate = best.throughput.images_per_second * math.exp(rng.gauss(0, QUIET_NOISE))
            speed = best.throughput.model_copy(update={"images_per_second": rate})
            made.append(best.model_copy(update={"id": trial.id, "throughput": speed}))
        return point.model_copy(update={"trials": tuple(made)})

    return settle(full.model_copy(update={"points": tuple(map(calm, full.points))}))


def replay(full: FrontierRecord) -> FrontierRecord:
    """The frontier that pruning would have found with the same trials."""
    trials = {p.id: p.trials for p in full.points}
    bare = tuple(
        p.model_copy(
            update={
                "trials": (),
                "discarded": (),
                "standing": "refused" if not p.trials and p.standing == "refused" else "not run",
            }
        )
        for p in full.points
    )
    now = settle(full.model_copy(update={"points": bare}))
    while ids := wave(now, every=False):
        grown = tuple(
            p.model_copy(update={"trials": trials[p.id][: len(p.trials) + 1]}) if p.id in ids else p
            for p in now.points
        )
        now = settle(now.model_copy(update={"points": grown}))
    return now


def regrets(full: FrontierRecord, found: FrontierRecord) -> tuple[dict[str, float], float]:
    """By the medians of all trials: what each method's best lacks, and the frontiers at most."""
    rate = {p.id: p.images_per_second or 0.0 for p in full.points}
    best, worst = {}, 0.0
    for p in full.points:
        if not p.on_frontier:
            continue
        ours = [q for q in found.points if q.method == p.method and q.on_frontier]
        close = [rate[q.id] for q in ours if (q.memory_bytes or 0) <= (p.memory_bytes or 0)]
        worst = max(worst, rate[p.id] / max(close) - 1 if close else math.inf)
        if p.best:
            best[p.method] = rate[p.id] / max(rate[q.id] for q in ours if q.best) - 1
    return best, worst


def errors(full: FrontierRecord) -> dict[str, list[float]]:
    """By how much single points were faster than promised, knowing one other point."""
    points = [p for p in candidates(full) if p.counts and p.guess_rate]
    found: dict[str, list[float]] = {"same workload": [], "same method": [], "other method": []}
    for one in points:
        for other in points:
            if other.id == one.id:
                continue
            promised = promise(one, [other], margins_of(full))
            assert promised is not None
            kind = "other method"
            if other.series == one.series:
                kind = "same workload"
            elif other.method == one.method:
                kind = "same method"
            found[kind].append((one.rate or 0.0) / promised.likely - 1)
    return found


def asked_for(words: list[str]) -> FrontierRecord:
    """The frontier named on the command line; ends with one line if there is none."""
    files = [word for word in words if word != "--quiet"]
    if len(files) != 1:
        sys.exit("name one result file of `ffprof frontier --all-points`, and --quiet if wanted")
    try:
        full = load_frontier(files[0])
    except FfprofError as error:
        sys.exit(str(error))
    if full.kind != "frontier" or full.evidence == "estimated":
        sys.exit(f"{files[0]} is not a measured frontier; make one with `ffprof frontier`")
    return full


def main() -> None:
    full = asked_for(sys.argv[1:])
    if "--quiet" in sys.argv[1:]:
        shares = []
        for seed in range(QUIET_TIMES):
            calm = quietened(full, seed)
            found = replay(calm)
            cost = (found.spent_seconds or 0.0) + (full.guess_seconds or 0.0)
            shares.append(cost / (calm.spent_seconds or math.inf))
        print(f"over {QUIET_TIMES} replays: {min(shares):.0%} to {max(shares):.0%} of the time")
        full = quietened(full, 0)
    found = replay(full)
    spent = (found.spent_seconds or 0.0) + (full.guess_seconds or 0.0)
    measured = [p for p in found.points if p.trials]
    print(
        f"all points: {len(full.points)}, {sum(len(p.trials) for p in full.points)} trials, "
        f"{full.spent_seconds:.0f} s"
    )
    print(
        f"pruned: {len(measured)} points, {sum(len(p.trials) for p in measured)} trials, "
        f"{spent:.0f} s with {full.guess_seconds:.0f} s of estimates: "
        f"{spent / (full.spent_seconds or 1):.0%}"
    )
    spreads = [
        max(rates) / min(rates) - 1
        for p in candidates(full)
        if (rates := p.rates) and len(rates) > 1
    ]
    if spreads:
        print(
            f"trials of one point differ by {median(spreads):.0%} (median), "
            f"{max(spreads):.0%} at most"
        )
    best, worst = regrets(full, found)
    for method, lost in best.items():
        print(f"  {method}: the best found is slower than the best of all by {lost:.1%}")
    print(f"on the frontiers, at the same memory, slower by {worst:.1%} at most")
    for kind, values in errors(full).items():
        if values:
            values.sort()
            high = values[int(0.95 * (len(values) - 1))]
            print(
                f"estimates corrected by one point of the {kind}: too low by {median(values):.0%} "
                f"(median), {high:.0%} (95 %), {values[-1]:.0%} (most), n = {len(values)}"
            )


if __name__ == "__main__":
    main()
