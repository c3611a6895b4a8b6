"""What an audit comes to, in a line for each pair of rows that a claim is about."""

from __future__ import annotations

from collections.abc import Sequence

from ffprof.analysis.speeds import Speeds
from ffprof.analysis.summary import Row
from ffprof.analysis.verdicts import word
from ffprof.records.audit import Record, Verdict
from ffprof.units import format_bytes, format_rate, format_ratio

_ESTIMATED = "estimated: "

Wordings = tuple[str, ...]  # of one answer, the longest first


def answers(record: Record, rows: Sequence[Row]) -> tuple[Wordings, ...]:
    """Claims on memory first, then those on speed, then what has no verdict.

    Without any claim, the smallest and the fastest row.
    """
    pairs: dict[tuple[str, str], dict[str, Verdict]] = {}
    for verdict in record.verdicts:
        pair = pairs.setdefault((verdict.challenger, verdict.baseline), {})
        pair.setdefault(verdict.metric, verdict)
    if not pairs:
        return _extremes(record, rows)
    ordered = sorted(pairs.values(), key=_place)  # stable
    told = (_answer(record, rows, pair) for pair in ordered)
    return tuple(one for one in told if one)


def _place(pair: dict[str, Verdict]) -> int:
    if "memory" in pair and pair["memory"].ratio is not None:
        return 0
    decided = any(verdict.supported is not None for verdict in pair.values())
    return 1 if decided else 2


def _answer(record: Record, rows: Sequence[Row], pair: dict[str, Verdict]) -> Wordings:
    estimated = record.evidence == "estimated"
    memory, speed = pair.get("memory"), pair.get("throughput")
    if memory is None or memory.ratio is None:
        return _one_metric(memory or speed, estimated)
    ours, theirs = memory.challenger, memory.baseline
    ratio = speed.ratio if speed else _speed_ratio(record, rows, ours, theirs)
    judged = speed is not None and not estimated
    about, mark, end = ("about ", "~", " (estimated)") if estimated else ("", "", "")
    status = word(memory.supported)
    spoken = f"; speed {word(speed.supported)}" if speed is not None and judged else ""
    times = _times(memory.ratio)
    if ratio is None:
        return (
            f"{ours} needs {about}{times} times the memory of {theirs}: {status}{spoken}{end}",
            f"{ours} vs {theirs}: memory {mark}{times}x {status}",
        )
    fast = _times(ratio)
    verdict = f" {word(speed.supported)}" if speed is not None and judged else ""
    return (
        f"{ours} needs {about}{times} times the memory of {theirs}, at {about}{fast} times its "
        f"speed: {status}{spoken}{end}",
        f"{ours} needs {mark}{times}x the memory of {theirs} at {mark}{fast}x its speed: "
        f"{status}{spoken}",
        f"{ours} vs {theirs}: memory {mark}{times}x {status}, speed {mark}{fast}x{verdict}",
    )


def _one_metric(verdict: Verdict | None, estimated: bool) -> Wordings:
    if verdict is None:
        return ()
    ours, theirs = verdict.challenger, verdict.baseline
    if verdict.metric == "memory" or verdict.ratio is None:
        sentence = verdict.sentence.removeprefix(_ESTIMATED)
        return (f"{sentence}{' (estimated)' * estimated}",)
    if estimated:
        return ()  # it has no verdict, and the table has the ratio
    times, status = _times(verdict.ratio), word(verdict.supported)
    if verdict.supported is None and verdict.interval is None:
        status = "no verdict"
    return (
        f"{ours} runs at {times} times the speed of {theirs}: {status}",
        f"{ours} vs {theirs}: speed {times}x {status}",
    )


def _times(ratio: float) -> str:
    return format_ratio(ratio).removesuffix("x")


def _speed_ratio(record: Record, rows: Sequence[Row], ours: str, theirs: str) -> float | None:
    found = {row.workload: row for row in rows}
    if ours not in found or theirs not in found:  # a file may say anything
        return None
    return Speeds(record, rows, 1).middle(found[ours], found[theirs])


def _extremes(record: Record, rows: Sequence[Row]) -> tuple[Wordings, ...]:
    known = [row for row in rows if row.usable and row.memory]
    if not known:
        return ()
    end = " (estimated)" * (record.evidence == "estimated")
    smallest = min(known, key=lambda row: row.memory.median if row.memory else 0.0)
    if len(known) == 1:
        return ((f"{smallest.workload}: {_figures(smallest)}{end}",),)
    told = [(f"smallest: {smallest.workload}, {_figures(smallest)}{end}",)]
    timed = [row for row in known if row.throughput]
    if timed:
        fastest = max(timed, key=lambda row: row.throughput.median if row.throughput else 0.0)
        told.append((f"fastest: {fastest.workload}, {_figures(fastest)}{end}",))
    return tuple(told)


def _figures(row: Row) -> str:
    told = [format_bytes(round(row.memory.median))] if row.memory else []
    told += [f"{format_rate(row.throughput.median)} img/s"] if row.throughput else []
    return ", ".join([*told, *([row.fit] if row.fit else [])])
