"""How speeds differ between two records of one recipe.

The two were not interleaved, so a difference of images per second may be the machine's. Speeds
relative to the other workloads of the same rounds are free of that: a slower machine changes none
of them. They are what is judged; images per second are judged only where the caller knows that
both ran on one and the same device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ffprof.analysis.speeds import Rates, rates_of
from ffprof.analysis.statistics.intervals import (
    Intervals,
    absolute_intervals,
    change_intervals,
    ratio_of,
    relative_to,
    relative_to_all,
)
from ffprof.analysis.statistics.looks import LOOKS, error_of, look_of
from ffprof.analysis.summary import Row, summarise
from ffprof.analysis.verdicts import place
from ffprof.records.audit import Record

SpeedFinding = Literal[
    "faster", "same", "not slower", "slower", "not faster", "inconclusive", "ratio only"
]


@dataclass(frozen=True, kw_only=True)
class SpeedChange:
    """The speed of a workload after, as a multiple of that before.

    ``ratio`` is of speeds relative to the other workloads of the same rounds (``relative``), or of
    images per second (``absolute``). ``low`` and ``high`` hold for all workloads and looks
    together in 99 of 100 comparisons; None below the first look. ``rounds`` were had before and
    after; ``reference`` says in words what a relative speed is relative to. ``because`` says why
    there is no verdict.
    """

    workload: str
    relative: bool
    ratio: float
    low: float | None
    high: float | None
    rounds: tuple[int, int]
    finding: SpeedFinding
    reference: str = ""
    because: str = ""


def speed_changes(before: Record, after: Record, *, kinds: int = 1) -> tuple[SpeedChange, ...]:
    """Of every workload that is ok in both, its speed relative to those of the same rounds.

    That is relative to what happened to all in the median. Of two workloads, the second is relative
    to the first.

    Args:
        before: the earlier record.
        after: the later one, of the same recipe.
        kinds: how many kinds of changes are judged together: 2 with ``absolute_changes``.
    """
    pairs = _common(before, after)
    names = [old.workload for old, _ in pairs]
    if len(names) < 2:
        return ()
    rates = [rates_of(r, [row[i] for row in pairs]) for i, r in enumerate((before, after))]
    if len(names) == 2:
        first, second = names
        found = _changes(pairs, [second], rates, [first], relative=True, told=first, kinds=kinds)
        return tuple(map(_of_two, found))
    told = "the median of all rows"
    return _changes(pairs, names, rates, [], relative=True, told=told, kinds=kinds)


def _of_two(change: SpeedChange) -> SpeedChange:
    """Of two rows nobody said which one is unchanged: a loss of the first must not pass for a gain.

    A loss of the second is reported as one, because the first is what is usually compared with.
    """
    if change.finding != "faster":
        return change
    because = f"it became faster, or {change.reference} became slower: a third row would tell"
    return replace(change, finding="inconclusive", because=because)


def absolute_changes(before: Record, after: Record, *, kinds: int = 1) -> tuple[SpeedChange, ...]:
    """Of every workload that is ok in both, its images per second.

    How much the machine changes between rounds counts as how much it may have changed between the
    records (``intervals.absolute_intervals``).
    """
    pairs = _common(before, after)
    if not pairs:
        return ()
    rates = [rates_of(r, [row[i] for row in pairs]) for i, r in enumerate((before, after))]
    names = [old.workload for old, _ in pairs]
    return _changes(pairs, names, rates, [], relative=False, told="", kinds=kinds)


def _common(before: Record, after: Record) -> list[tuple[Row, Row]]:
    new = {row.workload: row for row in summarise(after) if _has_speed(row)}
    old = [row for row in summarise(before) if _has_speed(row)]
    return [(row, new[row.workload]) for row in old if row.workload in new]


def _has_speed(row: Row) -> bool:
    return row.settled == "ok" and row.throughput is not None


def _changes(
    pairs: Sequence[tuple[Row, Row]],
    kept: Sequence[str],
    rates: Sequence[Rates],
    reference: Sequence[str],
    *,
    relative: bool,
    told: str,
    kinds: int,
) -> tuple[SpeedChange, ...]:
    rounds = (rates[0].rounds, rates[1].rounds)
    if not min(rounds):
        return ()
    estimated = any(row.fit is not None for pair in pairs for row in pair)
    error = error_of(kinds * len(kept))
    found, judged = _intervals(kept, rates, reference, error, relative=relative)
    marks = {new.workload: _objection(old, new) for old, new in pairs}
    changes = []
    for number, name in enumerate(kept):
        middle, half = float(found.middle[number]), float(found.half[number])
        low, high = (ratio_of(middle - half), ratio_of(middle + half)) if judged else (None, None)
        because = marks[name]
        if estimated:
            because = "an estimate gives no verdict on throughput"
        elif not judged:
            because = f"there are fewer than {LOOKS[0]} rounds"
        finding: SpeedFinding = "ratio only"
        if low is not None and high is not None and not because:
            finding = _finding(low, high)
        changes.append(
            SpeedChange(
                workload=name,
                relative=relative,
                ratio=ratio_of(middle),
                low=low,
                high=high,
                rounds=rounds,
                finding=finding,
                reference=told,
                because=because,
            )
        )
    return tuple(changes)


def _intervals(
    kept: Sequence[str],
    rates: Sequence[Rates],
    reference: Sequence[str],
    error: float,
    *,
    relative: bool,
) -> tuple[Intervals, bool]:
    """Intervals of the kept rows, and whether there were rounds enough for them to say anything."""
    import numpy as np

    before, after = (one.array() for one in rates)
    rows = rates[0].rows
    if reference:
        places = [rows.index(name) for name in reference]
        before, after = relative_to(before, places), relative_to(after, places)
    elif relative:
        before, after = relative_to_all(before, after)
    chosen = [rows.index(name) for name in kept]
    before, after = before[chosen], after[chosen]
    if look_of(min(one.rounds for one in rates)) is None:
        middle = np.median(after, axis=-1) - np.median(before, axis=-1)
        return Intervals(middle=middle, half=np.zeros_like(middle)), False
    floors = [max(one.floors[at] for one in rates) for at in chosen]
    make = change_intervals if relative else absolute_intervals
    return make(before, after, error, floors), True


def _objection(old: Row, new: Row) -> str:
    for when, row in (("before", old), ("after", new)):
        if row.marks:
            return f"{when}, {row.marks[0]}"
        if row.disturbed:
            return f"{when}, its trials were disturbed"
    return ""


def _finding(low: float, high: float) -> SpeedFinding:
    """Like that of a claim, and both sides alike: what may be slower by less than the zone only."""
    found = place(low, high)
    if found == "inconclusive":
        return "not faster" if place(1 / high, 1 / low) == "not slower" else "inconclusive"
    return found if found in ("faster", "slower", "same") else "not slower"
