"""The rows of a frontier's tables: the best of every method, then its points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from ffprof.analysis.frontier.points import good_trials, too_close
from ffprof.analysis.statistics.intervals import ZONE
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.report.layout import Shown, about, clean
from ffprof.units import format_bytes, format_rate


@dataclass(frozen=True, kw_only=True)
class Block:
    """A table with its heading, and what is said below it."""

    heading: str
    columns: tuple[Shown, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...] = ()


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
            rows.append((clean(method), "none", "-", "-", "-", "-", "-", tried))
            continue
        rows.append(
            (
                clean(method), clean(best.id), _memory(best, estimated),
                _reserved(best, estimated),
                _rate(best), _fit(best), _trials(best), tried,
            )
        )  # fmt: skip
    columns = (
        Shown(name="method", numeric=False), Shown(name="at", numeric=False), Shown(name="memory"),
        Shown(name="reserved", rank=1), Shown(name="img/s"),
        Shown(name="fit", numeric=False), Shown(name="trials", rank=2),
        Shown(name="measured", rank=1),
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
        f"{clean(method)}: as fast within {ZONE:.0%}{by}, with the least memory: "
        f"{clean(least.id)}, {format_bytes(least.memory_bytes)}"
    )


def _undecided(record: FrontierRecord, method: str, ours: Sequence[Point]) -> str:
    """That a method has no best because nothing of it fits for sure, in words; or nothing."""
    close = [p.id for p in ours if too_close(p) and p.standing == "estimated"]
    if record.evidence != "estimated" or not close or any(p.best for p in ours):
        return ""
    more = f" and {len(close) - _NAMED} more" if len(close) > _NAMED else ""
    return (
        f"{clean(method)}: no best, because no point fits for sure; too close to call: "
        f"{clean(', '.join(close[:_NAMED]))}{more}"
    )


def _left_out(record: FrontierRecord) -> tuple[str, ...]:
    return ("trials", "measured") if record.evidence == "estimated" else ("fit",)


def _fit(point: Point) -> str:
    return (point.guess.fit if point.guess else None) or "-"


def method_blocks(record: FrontierRecord) -> list[Block]:
    """One table a method; columns are as wide in all of them."""
    varied = {
        "precision": len({p.precision for p in record.points}) > 1,
        "format": len({p.memory_format for p in record.points}) > 1,
    }
    chosen = [(c, cell) for c, cell in _COLUMNS if varied.get(c.name, True)]
    estimated = record.evidence == "estimated"
    without = "trials" if estimated else "fit"
    chosen = [(c, cell) for c, cell in chosen if c.name != without]
    groups = {method: sorted(ours, key=_place) for method, ours in _by_method(record).items()}
    cells = {
        m: [[cell(p, estimated) for _, cell in chosen] for p in ours] for m, ours in groups.items()
    }
    empty = [all(row[i] == "-" for rows in cells.values() for row in rows) for i in _range(chosen)]
    kept = [i for i in _range(chosen) if not empty[i] or not chosen[i][0].rank]
    widths = {i: max(len(row[i]) for rows in cells.values() for row in rows) for i in kept}
    columns = tuple(chosen[i][0] for i in kept)
    return [
        Block(
            heading=clean(method),
            columns=columns,
            rows=tuple(
                tuple(_padded(row[i], widths[i], numeric=chosen[i][0].numeric) for i in kept)
                for row in rows
            ),
        )
        for method, rows in cells.items()
    ]


def _range(chosen: Sequence[object]) -> range:
    return range(len(chosen))


def _padded(text: str, width: int, *, numeric: bool) -> str:
    return text.rjust(width) if numeric else text.ljust(width)


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
    return format_rate(rate) if point.trials else about(rate)


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
        return "wins nothing"
    return point.standing


def _by(point: Point) -> str:
    return clean(point.because) if point.standing == "dominated" else "-"


_COLUMNS: tuple[tuple[Shown, _Cell], ...] = (
    (Shown(name="workload", numeric=False), lambda p, _: clean(p.workload)),
    (Shown(name="micro"), lambda p, _: str(p.micro_batch)),
    (Shown(name="precision", numeric=False), lambda p, _: p.precision),
    (Shown(name="format", numeric=False), lambda p, _: p.memory_format.replace("_", " ")),
    (Shown(name="memory"), _memory),
    (Shown(name="reserved", rank=2), _reserved),
    (Shown(name="img/s"), lambda p, _: _rate(p)),
    (Shown(name="trials", rank=1), lambda p, _: _trials(p)),
    (Shown(name="fit", rank=1, numeric=False), lambda p, _: _fit(p)),
    (Shown(name="place", numeric=False), lambda p, _: _standing(p)),
    (Shown(name="by", rank=3, numeric=False), lambda p, _: _by(p)),
)
