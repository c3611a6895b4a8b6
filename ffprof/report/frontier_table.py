"""The rows of a frontier's tables: the best of every method, then its points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from ffprof.analysis.frontier.points import good_trials, too_close
from ffprof.analysis.statistics.intervals import ZONE
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.report.document import Block, Column
from ffprof.units import format_about, format_bytes, format_rate

_NAMED = 4  # points, by name
_Cell = Callable[[Point, bool], str]  # the flag: nothing is measured, so nothing needs a mark
_ORDER = ("estimated", "measured", "dominated", "not run", "does not fit", "failed", "refused")


def methods_of(record: FrontierRecord) -> list[str]:
    """In the order of rows."""
    return list(_by_method(record))


def _by_method(record: FrontierRecord) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in record.points:
        found.setdefault(point.method, []).append(point)
    return found


def summary_block(record: FrontierRecord) -> Block:
    """One line a method: its fastest point under the budget."""
    heading = "Best throughput of each method"
    if record.budget.total_bytes is not None:
        heading += " under the budget"
    rows, estimated = [], record.evidence == "estimated"
    for method, ours in _by_method(record).items():
        best = next((p for p in ours if p.best), None)
        tried = f"{sum(bool(p.trials) for p in ours)} of {len(ours)}"
        if best is None:
            rows.append((method, "none", "-", "-", "-", "-", "-", tried))
            continue
        rows.append(
            (
                method, best.id, _memory(best, estimated),
                _reserved(best, estimated),
                _rate(best), _fit(best), _trials(best), tried,
            )
        )  # fmt: skip
    columns = (
        Column(name="method", numeric=False), Column(name="at", numeric=False),
        Column(name="memory"),
        Column(name="reserved", rank=1), Column(name="img/s"),
        Column(name="fit", numeric=False), Column(name="trials", rank=2),
        Column(name="measured", rank=1),
    )  # fmt: skip
    shown = [i for i, c in enumerate(columns) if c.name not in _left_out(record)]
    return Block(
        heading=heading,
        columns=tuple(columns[i] for i in shown),
        rows=tuple(tuple(row[i] for i in shown) for row in rows),
        lines=tuple(
            line
            for method, ours in _by_method(record).items()
            if (line := _undecided(record, method, ours) or _cheaper(record, method, ours))
        ),
    )


def fastest(record: FrontierRecord) -> tuple[tuple[str, ...], ...]:
    """Of each method its fastest point, in a line; the fastest method first."""
    bests = [point for point in record.points if point.best and point.images_per_second]
    estimated = record.evidence == "estimated"
    return tuple(
        (f"{one.method}: {_rate(one)} img/s at {one.id}, {_memory(one, estimated)}",)
        for one in sorted(bests, key=lambda one: -(one.images_per_second or 0.0))
    )


def _cheaper(record: FrontierRecord, method: str, ours: Sequence[Point]) -> str:
    """The point of least memory that counts as equally fast as the best, in words; or nothing."""
    line = [p for p in ours if p.on_frontier]
    best = next((p.images_per_second or 0.0 for p in line if p.best), None)
    if best is None:
        return ""
    close = [
        p for p in line if (p.images_per_second or 0.0) * (1 + ZONE) >= best and not too_close(p)
    ]
    least = min(close, key=lambda p: p.memory_bytes or 0, default=None)
    if least is None or least.best:
        return ""
    by = " by the estimate" if record.evidence == "estimated" else ""
    return (
        f"{method}: as fast within {ZONE:.0%}{by}, with the least memory: "
        f"{least.id}, {format_bytes(least.memory_bytes)}"
    )


def _undecided(record: FrontierRecord, method: str, ours: Sequence[Point]) -> str:
    """That a method has no best because nothing of it fits for sure, in words; or nothing."""
    close = [p.id for p in ours if too_close(p) and p.standing == "estimated"]
    if record.evidence != "estimated" or not close or any(p.best for p in ours):
        return ""
    more = f" and {len(close) - _NAMED} more" if len(close) > _NAMED else ""
    return (
        f"{method}: no best, because no point fits for sure; too close to call: "
        f"{', '.join(close[:_NAMED])}{more}"
    )


def _left_out(record: FrontierRecord) -> tuple[str, ...]:
    return ("trials", "measured") if record.evidence == "estimated" else ("fit",)


def _fit(point: Point) -> str:
    return (point.guess.fit if point.guess else None) or "-"


def method_blocks(record: FrontierRecord) -> list[Block]:
    """One table a method, all with the same columns."""
    estimated = record.evidence == "estimated"
    without = {"trials" if estimated else "fit"}
    without |= {"precision"} if len({p.precision for p in record.points}) == 1 else set()
    without |= {"format"} if len({p.memory_format for p in record.points}) == 1 else set()
    chosen = [
        (column, cell)
        for column, cell in _COLUMNS
        if column.name not in without
        and (not column.rank or any(cell(p, estimated) != "-" for p in record.points))
    ]
    return [
        Block(
            heading=method,
            columns=tuple(column for column, _ in chosen),
            rows=tuple(
                tuple(cell(p, estimated) for _, cell in chosen) for p in sorted(ours, key=_place)
            ),
        )
        for method, ours in _by_method(record).items()
    ]


def _place(point: Point) -> tuple[bool, int, float]:
    return not point.on_frontier, _ORDER.index(point.standing), -(point.images_per_second or 0.0)


def _memory(point: Point, estimated: bool) -> str:
    return _size(point.memory_bytes, point, estimated)


def _reserved(point: Point, estimated: bool) -> str:
    return _size(reserved(point), point, estimated)


def _size(size: int | None, point: Point, estimated: bool) -> str:
    guessed = size is not None and not point.trials and not estimated
    return f"~{format_bytes(size)}" if guessed else format_bytes(size)


def _rate(point: Point) -> str:
    rate = point.images_per_second
    return format_rate(rate) if point.trials else format_about(rate)


def reserved(point: Point) -> int | None:
    """What the allocator reserves: the median of its trials, or the estimate."""
    known = [t.memory.reserved_peak_bytes for t in good_trials(point)]
    sizes = [size for size in known if size is not None]
    if sizes:
        return round(median(sizes))
    return point.guess.reserved_bytes if point.guess and not point.trials else None


def _trials(point: Point) -> str:
    return str(len(point.trials)) if point.trials else "-"


def _standing(point: Point) -> str:
    if point.best:
        return "best"
    if point.on_frontier:
        return "frontier"
    if point.standing == "measured":
        return "not ranked"
    return point.standing


def _by(point: Point) -> str:
    return point.because if point.standing == "dominated" else "-"


_COLUMNS: tuple[tuple[Column, _Cell], ...] = (
    (Column(name="workload", numeric=False), lambda p, _: p.workload),
    (Column(name="micro"), lambda p, _: str(p.micro_batch)),
    (Column(name="precision", numeric=False), lambda p, _: p.precision),
    (Column(name="format", numeric=False), lambda p, _: p.memory_format.replace("_", " ")),
    (Column(name="memory"), _memory),
    (Column(name="reserved", rank=2), _reserved),
    (Column(name="img/s"), lambda p, _: _rate(p)),
    (Column(name="trials", rank=1), lambda p, _: _trials(p)),
    (Column(name="fit", rank=1, numeric=False), lambda p, _: _fit(p)),
    (Column(name="place", numeric=False), lambda p, _: _standing(p)),
    (Column(name="by", rank=3, numeric=False), lambda p, _: _by(p)),
)
