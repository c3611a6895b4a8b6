"""What a reader of a frontier must know before believing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ffprof.analysis.frontier.points import disturbed, series_of, stray_crash
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.report.sections import NOISY


def problems(record: FrontierRecord) -> tuple[str, ...]:
    """One line each: what ended it, what is noisy, failed, disturbed, or at the edge of a grid."""
    lines = [f"stopped early: {record.stopped}"] if record.stopped else []
    noise = record.margins.get("noise", 0.0)
    if noise > NOISY and record.evidence != "estimated":
        lines.append(
            f"trials of one point differ by up to {noise:.0%} (19 of 20): close other programs and "
            "run again; until then most points are run in all rounds, and places are uncertain"
        )
    lines += _by_sizes(record.points, _failed)
    lines += _by_sizes(record.points, _disturbed)
    lines += _by_sizes(record.points, _crashed)
    lines += _by_sizes(record.points, _retaken)
    lines += _at_the_edge(record)
    return tuple(lines)


def _by_sizes(points: Iterable[Point], say: Callable[[Point], str]) -> list[str]:
    """What is said of points, with the sizes of a workload of which the same is."""
    told: dict[tuple[str, str], list[str]] = {}
    for point in points:
        if words := say(point):
            told.setdefault((point.workload, words), []).append(str(point.micro_batch))
    return [
        f"{workload} at {', '.join(dict.fromkeys(sizes))}: {words}"
        for (workload, words), sizes in told.items()
    ]


def _failed(point: Point) -> str:
    if not point.because:
        return ""
    if point.standing in ("refused", "failed"):
        return f"{point.standing}; {point.because}"
    if point.standing == "measured":
        return f"wins nothing; {point.because}"
    if point.standing == "does not fit" and point.trials:
        ran = any(t.outcome == "oom" for t in point.trials)
        return f"{'out of memory' if ran else 'does not fit'}; {point.because}"
    return ""


def _disturbed(point: Point) -> str:
    if point.standing not in ("measured", "dominated") or not (told := disturbed(point)):
        return ""
    return f"disturbed in all its trials, so it is not named best; {'; '.join(told)}"


def _crashed(point: Point) -> str:
    told = stray_crash(point)
    return f"one trial failed beside others that count; {told}" if told else ""


def _retaken(point: Point) -> str:
    count = len(point.discarded)
    if not count:
        return ""
    return f"{count} disturbed trial{'s were' if count > 1 else ' was'} taken again"


def _at_the_edge(record: FrontierRecord) -> list[str]:
    """Bests at the largest size of their workload, where the batch would allow a larger one."""
    largest: dict[str, int] = {}
    for point in record.points:
        series = series_of(point)
        largest[series] = max(largest.get(series, 0), point.micro_batch)
    found = [
        point.id
        for point in record.points
        if point.best and largest[series_of(point)] == point.micro_batch < point.batch
    ]
    if not found:
        return []
    return [
        f"the best is at the largest size that was asked for: {', '.join(found)}; a larger one may "
        "be faster (--micro-batches)"
    ]
