"""Which points are measured next: promising ones first, again only where it could change a place.

A wave is a set of points that are measured once each, in any order, before this is asked again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ffprof.analysis.frontier.pareto import (
    Candidate,
    Margins,
    best,
    dominated_by,
    least_memory,
    promise,
    same_work,
    widened,
)
from ffprof.analysis.statistics.intervals import difference

FEWEST_REPEATS = 4  # trials beyond each point's first, before their spread is believed


def next_wave(points: Sequence[Candidate], rounds: int, margins: Margins) -> tuple[str, ...]:
    """Ids of the points to be measured once more; nothing when all is decided.

    First one point of every method at a time: the most promising of those that are neither
    measured nor dominated. Then one of every series that was left out altogether: estimates may
    be wrong about a whole workload, and one trial tells. Then, up to ``rounds`` times, the fastest
    of every method, and points whose place noise could still change.
    """
    methods = dict.fromkeys(p.method for p in points)
    margins = widened(points, margins)
    first = [one for m in methods if (one := _most_promising(m, points, margins)) is not None]
    return tuple(first) or _unseen(points, margins) or _again(points, rounds, margins)


def every_point(points: Sequence[Candidate], rounds: int) -> tuple[str, ...]:
    """The next round over all points that can be run, whatever is known of them."""
    running = [p for p in points if not p.out]
    done = min((len(p.rates) for p in running), default=rounds)
    return tuple(p.id for p in running if len(p.rates) == done) if done < rounds else ()


def noise(points: Sequence[Candidate], margins: Margins) -> float:
    """The share by which two single trials of the same speed may differ.

    The margin, or more if the repeated trials so far say so.
    """
    repeated = [[math.log(rate) for rate in p.rates] for p in points]
    return max(margins.noise, math.expm1(difference(repeated, FEWEST_REPEATS) or 0.0))


def _most_promising(method: str, points: Sequence[Candidate], margins: Margins) -> str | None:
    waiting = [
        p
        for p in points
        if p.method == method and p.waits and dominated_by(p, points, margins) is None
    ]
    # Those that are likely dominated come last: by then more is known of how far estimates are off.
    return min(waiting, key=lambda p: _turn(p, points, margins)).id if waiting else None


def _unseen(points: Sequence[Candidate], margins: Margins) -> tuple[str, ...]:
    """The most promising point of every series of which nothing has run.

    What does the same work as a measured point under another name needs none.
    """
    waiting: dict[str, list[Candidate]] = {}
    for p in points:
        if p.waits and not same_work(p, points):
            waiting.setdefault(p.series, []).append(p)
    seen = {p.series for p in points if p.rates}
    unseen = [some for series, some in waiting.items() if series not in seen]
    return tuple(min(some, key=lambda p: _eagerness(p, points, margins)).id for some in unseen)


def _eagerness(p: Candidate, points: Sequence[Candidate], margins: Margins) -> tuple[float, float]:
    promised, memory = promise(p, points, margins), least_memory(p, points, margins)
    return -(promised.likely if promised else math.inf), memory or 0.0


def _turn(p: Candidate, points: Sequence[Candidate], margins: Margins) -> tuple[bool, float, float]:
    promised, memory = promise(p, points, margins), least_memory(p, points, margins)
    if promised is None or memory is None:
        return False, -math.inf, 0.0
    needless = any(
        q.counts and q.method == p.method and (q.memory or 0) <= memory
        for q in points
        if (q.rate or 0) >= promised.likely
    )
    return needless, -promised.likely, memory


def _again(points: Sequence[Candidate], rounds: int, margins: Margins) -> tuple[str, ...]:
    counting = [p for p in points if p.counts]
    chance = noise(points, margins)
    # A doubtful one gets more trials too: one that is not disturbed makes it the best.
    wanted = {*best(counting).values(), *best(p for p in counting if not p.doubtful).values()}
    for p in counting:
        q = _rival(p, counting)
        if q is None or p.rate is None or q.rate is None:
            continue
        fewest = min(len(p.rates), len(q.rates))
        gap = abs(math.log(p.rate / q.rate))
        # Otherwise the worst error is to call two speeds different that count as the same.
        if gap < math.log1p(chance) / math.sqrt(fewest) - math.log1p(margins.zone):
            wanted |= {one.id for one in (p, q) if len(one.rates) == fewest}
    return tuple(p.id for p in counting if p.id in wanted and len(p.rates) < rounds)


def _rival(p: Candidate, points: Sequence[Candidate]) -> Candidate | None:
    """The fastest of its method that needs less memory: it decides whether p is on the frontier."""
    less = [q for q in points if q.method == p.method and (q.memory or 0) < (p.memory or 0)]
    return max(less, key=lambda q: q.rate or 0.0, default=None)
