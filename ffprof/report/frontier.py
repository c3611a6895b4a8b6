"""The report of a frontier: the best of each method, all points, what it took, and its problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ffprof.analysis.frontier.points import disturbed, series_of, stray_crash
from ffprof.analysis.summary import MEMORY_MEANING
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.report.document import Block, Document, printable
from ffprof.report.frontier_table import fastest, method_blocks, summary_block
from ffprof.report.header import setting
from ffprof.report.sections import NOISY
from ffprof.units import format_seconds


def problems(record: FrontierRecord) -> tuple[str, ...]:
    """One line each: what ended it, what is noisy, failed, disturbed, or at the edge of a grid."""
    lines = [f"stopped early: {record.stopped}"] if record.stopped else []
    noise = record.margins.get("noise", 0.0)
    if noise > NOISY and record.evidence != "estimated":
        lines.append(
            f"trials of one point differ by up to {noise:.0%} (19 of 20): close other programs and "
            "run again; until then most points are run in all rounds, and ranks are uncertain"
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
        return f"not ranked: {point.because}"
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
    return f"one trial failed, others count: {told}" if told else ""


def _retaken(point: Point) -> str:
    count = len(point.discarded)
    if not count:
        return ""
    return f"{count} disturbed trial{'s were' if count > 1 else ' was'} repeated"


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
        f"the best is at the largest size requested: {', '.join(found)}; a larger one may "
        "be faster (--micro-batches)"
    ]


def frontier_document(record: FrontierRecord) -> Document:
    """The report of a frontier's record."""
    return printable(
        Document(
            title=f"Frontier: {record.subject}, {record.evidence}",
            setting=(*setting(record, _varied(record)), cost_line(record)),
            blocks=(
                summary_block(record),
                *method_blocks(record),
                Block(caption=_caption(record)),
                Block(heading="Problems", lines=problems(record)),
                Block(heading="Notes", lines=record.notes),
            ),
            answers=fastest(record),
        )
    )


def cost_line(record: FrontierRecord) -> str:
    """What measuring took, and what measuring everything would have taken."""
    count = len(record.points)
    guessing = record.guess_seconds or 0.0
    if record.evidence == "estimated":
        return f"{count} points estimated in {format_seconds(guessing)}"
    measured = sum(bool(p.trials) for p in record.points)
    told = f"measured {measured} of {count} points"
    if record.spent_seconds is None or record.all_seconds is None:
        return told
    spent = record.spent_seconds + guessing
    times = "once" if record.rounds == 1 else f"{record.rounds} times"
    told += f" in {format_seconds(spent)}, {format_seconds(guessing)} of it for estimates"
    if record.stopped:
        return f"{told}, until it was stopped"
    told += (
        f"; all of them, each {times}, would have taken about {format_seconds(record.all_seconds)}"
    )
    if guessing > record.spent_seconds:
        return f"{told}: estimates took longer than trials, and pay where trials are long"
    return f"{told} ({spent / max(record.all_seconds, 1e-9):.0%})"


def _varied(record: FrontierRecord) -> dict[str, str | None]:
    """The settings that points share; what they do not share is a column."""
    varied: dict[str, str | None] = {"micro_batch": None}
    for name in ("precision", "memory_format"):
        found = {getattr(point, name) for point in record.points}
        varied[name] = found.pop() if len(found) == 1 else None
    return varied


def _caption(record: FrontierRecord) -> str:
    device = "cpu" if record.evidence == "measured (cpu)" else "cuda"
    parts = [
        f"memory: {MEMORY_MEANING[device]}",
        "frontier: no point of the method needs less and is as fast",
    ]
    if record.evidence == "estimated":
        parts.append("reserved: without a limit, so it may exceed the budget that it fits")
        return "; ".join([*parts, "img/s: by a roofline", "all figures estimated"])
    parts += [
        "img/s: median over trials",
        "~: not measured, an estimate scaled by measured points",
        f"figures without ~ are {record.evidence}",
    ]
    return "; ".join(parts)
