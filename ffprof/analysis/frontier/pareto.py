"""Which points of a method are worth a measurement, by what is measured and estimated so far.

A point is a size of one workload, with what is known of its memory and speed. Estimates are
corrected by the ratios measured / estimated of points that were measured already, those of the
same workload first; how far a corrected estimate may still be off is a stated margin. Nothing
here runs anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median

from ffprof.analysis.statistics.intervals import ZONE, difference

FEWEST_RATIOS = 3  # beyond each group's first, before their spread is believed


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Shares by which a corrected estimate may be too low, or measured rates differ by chance.

    ``workload``: where the same workload was measured at another size; ``method``: where only
    other workloads of its method were; ``others``: where only other methods were. ``memory``: by
    which a corrected estimate of memory may be too high. ``noise``: by which two single trials of
    the same speed may differ. docs/frontier.md says where they come from.
    """

    workload: float = 0.25
    method: float = 0.40
    others: float = 1.00
    memory: float = 0.05
    noise: float = 0.05
    zone: float = ZONE


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point as far as it is known.

    Attributes:
        id: unique among all.
        method: points are compared with those of their method only.
        series: what points that differ only in ``size`` have in common.
        size: the micro-batch.
        guess_memory: bytes, estimated; None if it could not be.
        guess_rate: images per second, estimated.
        memory: bytes, measured.
        rates: images per second, one a trial.
        out: it is refused, does not fit or failed: nothing more is run of it.
        wins: whether it may dominate others; a point that does not learn may not.
        doubtful: it may dominate, but not be the best: all its trials were disturbed, or its
            estimate cannot tell whether it fits.
    """

    id: str
    method: str
    series: str
    size: int
    guess_memory: float | None = None
    guess_rate: float | None = None
    memory: float | None = None
    rates: tuple[float, ...] = field(default=())
    out: bool = False
    wins: bool = True
    doubtful: bool = False

    @property
    def rate(self) -> float | None:
        """The median over its trials."""
        return median(self.rates) if self.rates else None

    @property
    def counts(self) -> bool:
        """Whether it is measured and may dominate."""
        return bool(self.rates) and self.memory is not None and self.wins and not self.out

    @property
    def waits(self) -> bool:
        """Whether it could still be measured for the first time."""
        return not self.rates and not self.out


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A corrected estimate in images per second: the likely rate, and what it may reach."""

    likely: float
    most: float


def frontier(points: Iterable[Candidate]) -> set[str]:
    """Ids of the measured points that no other one of their method dominates."""
    known = [p for p in points if p.counts]
    return {p.id for p in known if dominator(p, known) is None}


def dominator(one: Candidate, known: Sequence[Candidate]) -> Candidate | None:
    """The fastest measured point that needs no more than a measured one and is as fast.

    Of two that are equal in both, the first dominates the other.
    """
    found, before = [], True
    for q in known:
        before = before and q.id != one.id
        if q.id != one.id and q.counts and q.method == one.method and _beats(q, one, before=before):
            found.append(q)
    return max(found, key=_rate, default=None)


def _beats(q: Candidate, p: Candidate, *, before: bool) -> bool:
    assert q.memory is not None and p.memory is not None
    if q.memory > p.memory or _rate(q) < _rate(p):
        return False
    return before or q.memory < p.memory or _rate(q) > _rate(p)


def best(points: Iterable[Candidate]) -> dict[str, str]:
    """The fastest measured point of every method; of equally fast ones that of least memory."""
    found: dict[str, Candidate] = {}
    for p in points:
        other = found.get(p.method)
        if p.counts and (other is None or _order(p) > _order(other)):
            found[p.method] = p
    return {method: p.id for method, p in found.items()}


def _order(p: Candidate) -> tuple[float, float]:
    return _rate(p), -(p.memory or 0.0)


def promise(one: Candidate, points: Iterable[Candidate], margins: Margins) -> Promise | None:
    """What a point may reach; None if nothing is estimated of it.

    Without any measured point the estimate is all there is, and bounds nothing.
    """
    if one.guess_rate is None:
        return None
    known = [p for p in points if p.rates and p.guess_rate]
    same = [p for p in known if p.series == one.series]
    if same:
        likely = one.guess_rate * _interpolated(one.size, same)
        return Promise(likely=likely, most=likely * (1 + margins.workload))
    ours = [p for p in known if p.method == one.method]
    if not known:
        return Promise(likely=one.guess_rate, most=math.inf)
    likely = one.guess_rate * median(_ratio(p) for p in ours or known)
    return Promise(likely=likely, most=likely * (1 + (margins.method if ours else margins.others)))


def widened(points: Iterable[Candidate], margins: Margins) -> Margins:
    """The margins, or wider ones where estimates of points measured so far were further off.

    Ratios of measured to estimated are compared within each workload, and means of them within
    each method; the spread is pooled over all.
    """
    known = [p for p in points if p.rates and p.guess_rate]
    series: dict[tuple[str, str], list[float]] = {}
    for p in known:
        series.setdefault((p.method, p.series), []).append(math.log(_ratio(p)))
    methods: dict[str, list[float]] = {}
    for (method, _), logs in series.items():
        methods.setdefault(method, []).append(fmean(logs))
    inside = difference(series.values(), FEWEST_RATIOS) or 0.0
    between = difference(methods.values(), FEWEST_RATIOS) or 0.0
    workload = max(margins.workload, math.expm1(inside))
    return replace(
        margins, workload=workload, method=max(margins.method, workload, math.expm1(between))
    )


def _ratio(p: Candidate) -> float:
    assert p.guess_rate is not None
    return _rate(p) / p.guess_rate


def _interpolated(size: int, same: Sequence[Candidate]) -> float:
    """The ratio at a size: on a line between neighbours over log(size), beyond them the nearest."""
    ordered = sorted(same, key=lambda p: p.size)
    below = next((p for p in reversed(ordered) if p.size <= size), None)
    above = next((p for p in ordered if p.size >= size), None)
    if below is None or above is None or below.size == above.size:
        nearest = below or above
        assert nearest is not None
        return _ratio(nearest)
    share = math.log(size / below.size) / math.log(above.size / below.size)
    return float(_ratio(below) ** (1 - share) * _ratio(above) ** share)


def least_memory(one: Candidate, points: Iterable[Candidate], margins: Margins) -> float | None:
    """The fewest bytes that a point may turn out to need, by its corrected estimate."""
    if one.guess_memory is None:
        return None
    known = [p for p in points if p.memory and p.guess_memory]
    same = [p for p in known if p.series == one.series]
    ours = same or [p for p in known if p.method == one.method]
    ratios = [p.memory / p.guess_memory for p in ours if p.memory and p.guess_memory]
    return one.guess_memory * (min(ratios) if ratios else 1.0) * (1 - margins.memory)


def dominated_by(one: Candidate, points: Sequence[Candidate], margins: Margins) -> str | None:
    """The id of a measured point that makes it needless to measure this one, or None.

    That is one of its method that needs no more memory, and than which it promises to be no more
    faster than the zone in which speeds count as the same; or one of which everything estimated is
    exactly equal, because it does the same work under another name.
    """
    known = [q for q in points if q.counts and q.method == one.method and q.id != one.id]
    same = same_work(one, known)
    if same is not None:
        return same
    promised, memory = promise(one, points, margins), least_memory(one, points, margins)
    if promised is None or memory is None:
        return None
    found = [
        q
        for q in known
        if q.memory is not None
        and q.memory <= memory
        and _rate(q) * (1 + margins.zone) >= promised.most
    ]
    return max(found, key=_rate).id if found else None


def same_work(one: Candidate, points: Iterable[Candidate]) -> str | None:
    """The id of a measured point of its method of which everything estimated is exactly equal."""
    if not one.guess_rate:
        return None
    ours = [q for q in points if q.counts and q.method == one.method and q.id != one.id]
    same = (one.guess_memory, one.guess_rate)
    return next((q.id for q in ours if (q.guess_memory, q.guess_rate) == same), None)


def _rate(p: Candidate) -> float:
    rate = p.rate
    assert rate is not None
    return rate
