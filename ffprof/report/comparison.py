"""The report of a comparison of two result files, and the same as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ffprof.analysis.comparison import (
    ComparedRow,
    Comparison,
    CountChange,
    MemoryChange,
    smallest_visible,
)
from ffprof.analysis.speed_changes import SpeedChange
from ffprof.analysis.summary import MEMORY_MEANING, Spread
from ffprof.records.audit import Record
from ffprof.report import sections
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.header import setting, torch_of
from ffprof.units import format_bytes, format_rate, format_ratio

_TOLD = 5  # operators that are named


def bytes_of(spread: Spread | None) -> str:
    """The middle of a figure in bytes, for people."""
    return "-" if spread is None else format_bytes(int(spread.median))


def problems(found: Comparison) -> list[str]:
    """What must be known before a figure is quoted."""
    lines = []
    for row in found.rows:
        for when, one in (("before", row.before), ("after", row.after)):
            lines += [f"{row.workload}, {when}: {mark}" for mark in one.marks]
            if one.outcome != "ok":
                told = f"{row.workload}, {when}: {one.told_outcomes()}"
                lines.append("; ".join([told, *one.messages]))
        if row.memory and row.memory.finding == "does not repeat":
            lines.append(
                f"{row.workload}: peaks do not repeat, {_range(row.memory.before)} before and "
                f"{_range(row.memory.after)} after"
            )
    because = {row.relative.because for row in found.rows if row.relative and row.relative.because}
    if found.after.timed:
        lines += [f"no verdict on speed: {text}" for text in sorted(because)]
    for when, which in (("before", 0), ("after", 1)):
        rows = [(row.before, row.after)[which] for row in found.rows]
        lines += [f"{when}, {line}" for line in sections.noise(rows)]
    return lines


def _range(spread: Spread) -> str:
    if spread.low == spread.high:
        return format_bytes(int(spread.low))
    return f"{spread.low:,.0f} to {spread.high:,.0f} B"


def _counts(found: Comparison) -> str:
    """Everything in one line, the unchanged too."""
    memory = Counter(row.memory.finding if row.memory else "not known" for row in found.rows)
    speed = Counter(row.relative.finding if row.relative else "not known" for row in found.rows)
    told = [
        f"{what}: {', '.join(f'{count} {finding}' for finding, count in counts.most_common())}"
        for what, counts in (("memory", memory), ("relative speed", speed))
    ]
    rows = len(found.rows)
    return f"of {rows} workload{'' if rows == 1 else 's'}, {'; '.join(told)}"


def changes(found: Comparison) -> tuple[str, ...]:
    """Everything counted, each change by itself, and what noise hides."""
    itself = ("both are the same result, so nothing can differ",) if found.same else ()
    return (*itself, _counts(found), *_files(found), *_of_rows(found), *_outlook(found))


def _outlook(found: Comparison) -> list[str]:
    """What more rounds would see, where something is undecided."""
    open_ = [row for row in found.rows if row.relative and row.relative.finding == "inconclusive"]
    if not open_:
        return []
    seen = smallest_visible(found.after, [row.workload for row in found.rows])
    if not seen:
        return ["noise hides what changed in inconclusive rows (ffprof calibrate measures it)"]
    told = ", ".join(f"{rounds} rounds {share:.0%}" for rounds, share in seen.items())
    return [
        "losses of speed that would be found in 19 of 20 cases, in the median row, by the noise "
        f"after: {told}"
    ]


def _of_rows(found: Comparison) -> list[str]:
    lines = []
    for row in found.rows:
        for name, change in (("memory", row.memory), ("reserved", row.reserved)):
            if change is None or change.finding not in ("lower", "higher"):
                continue
            more = int(change.after.median - change.before.median)
            apart = f"{'+' if more > 0 else '-'}{format_bytes(abs(more))}"
            lines.append(
                f"{row.workload}: {name} is {change.finding}, {bytes_of(change.before)} before and "
                f"{bytes_of(change.after)} after ({apart})"
            )
        lines += [_count_line(row.workload, change) for change in row.flops]
        if row.operators:
            lines.append(_operators_line(row))
        speed = row.relative
        if speed and speed.finding in ("faster", "slower"):
            lines.append(
                f"{row.workload}: {speed.finding}, at {format_ratio(speed.ratio)} its speed "
                f"relative to {speed.reference} ({speed.low:.3f} to {speed.high:.3f})"
            )
    return lines


def _count_line(workload: str, change: CountChange) -> str:
    what = change.name.replace("_flops", " FLOPs")
    return f"{workload}: {what} {change.before:,} before and {change.after:,} after"


def _operators_line(row: ComparedRow) -> str:
    named = [f"{change.name} {change.more:+,}" for change in row.operators[:_TOLD]]
    more = len(row.operators) - len(named)
    rest = f" and {more} more" if more else ""
    return f"{row.workload}: operators of a step differ: {', '.join(named)}{rest}"


def _files(found: Comparison) -> list[str]:
    """Workload files of the user's own that are other ones now."""
    before = {file.path: file for file in found.before.plan.files}
    return [
        f"{file.path} changed: sha256 {before[file.path].sha256[:12]} before, "
        f"{file.sha256[:12]} after"
        for file in found.after.plan.files
        if file.path in before and before[file.path].sha256 != file.sha256
    ]


def in_one_only(found: Comparison) -> list[str]:
    """Workloads without a counterpart."""
    lines = []
    for when, names in (("before", found.only_before), ("after", found.only_after)):
        if names:
            lines.append(f"{when}: {', '.join(names)}")
    return lines


JSON_VERSION = 1
_Cell = Callable[[ComparedRow], str]


def comparison_document(
    found: Comparison, files: tuple[str, str], machines: Sequence[str]
) -> Document:
    """All rows, and what changed in words; ``machines`` says what of them differs."""
    columns = [(column, cell) for column, cell in _COLUMNS if _filled(found, column, cell)]
    return printable(
        Document(
            title=f"Comparison: {found.after.subject}, {found.after.evidence}",
            setting=(
                *setting(found.after)[:2],
                *(
                    f"{when}: {path}, {_run(record)}"
                    for when, path, record in zip(
                        ("before", "after"), files, (found.before, found.after), strict=True
                    )
                ),
            ),
            blocks=(
                Block(
                    columns=tuple(column for column, _ in columns),
                    rows=tuple(tuple(cell(row) for _, cell in columns) for row in found.rows),
                    caption=_caption(found),
                ),
                Block(heading="Machines differ", lines=tuple(machines)),
                Block(heading="Problems", lines=tuple(problems(found))),
                Block(heading="What changed", lines=changes(found)),
                Block(heading="In one record only", lines=tuple(in_one_only(found))),
            ),
        )
    )


def comparison_json(
    found: Comparison, files: tuple[str, str], machines: Sequence[str]
) -> dict[str, Any]:
    """The same for programs (docs/comparing.md)."""
    return {
        "schema_version": JSON_VERSION,
        "kind": "comparison",
        "evidence": found.after.evidence,
        "before": files[0],
        "after": files[1],
        "same_result": found.same,
        "machines_differ": list(machines),
        "only_before": list(found.only_before),
        "only_after": list(found.only_after),
        "workloads": [
            {
                "workload": row.workload,
                "outcome_before": row.before.outcome,
                "outcome_after": row.after.outcome,
                "memory": _memory_json(row.memory),
                "reserved": _memory_json(row.reserved),
                "relative_speed": _speed_json(row.relative),
                "images_per_second": _speed_json(row.absolute),
                "flops_differ": [asdict(change) for change in row.flops],
                "operators_differ": [asdict(change) for change in row.operators],
            }
            for row in found.rows
        ],
    }


def _memory_json(change: MemoryChange | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {
        "before_bytes": asdict(change.before),
        "after_bytes": asdict(change.after),
        "ratio": change.ratio,
        "finding": change.finding,
    }


def _speed_json(change: SpeedChange | None) -> dict[str, Any] | None:
    return None if change is None else asdict(change)


def _run(record: Record) -> str:
    machine = record.machine
    commit = f" at {machine.commit}" if machine.commit else ""
    return (
        f"{record.created:%Y-%m-%d %H:%M}, {record.plan.rounds} "
        f"round{'' if record.plan.rounds == 1 else 's'}, "
        f"{torch_of(machine)}, ffprof {record.ffprof}{commit}"
    )


def _memory(change: MemoryChange | None) -> str:
    if change is None:
        return "-"
    if change.finding == "same":
        return "same"
    if change.finding == "does not repeat" or change.ratio is None:
        return "differs"
    return _ratio(change.ratio)


def _ratio(ratio: float) -> str:
    """With so many digits that a change is not written as none."""
    text = format_ratio(ratio)
    return f"{ratio:.4f}x" if text == "1.00x" and ratio != 1 else text


def _speed(change: SpeedChange | None) -> str:
    return "-" if change is None else format_ratio(change.ratio)


def _interval(row: ComparedRow) -> str:
    change = row.relative
    if change is None or change.low is None or change.high is None:
        return "-"
    return f"{change.low:.3f}-{change.high:.3f}"


def _finding(row: ComparedRow) -> str:
    outcomes = row.before.outcome, row.after.outcome
    if outcomes != ("ok", "ok"):
        return " -> ".join(str(o or "not run") for o in dict.fromkeys(outcomes))
    return row.relative.finding if row.relative else "-"


def _rate(spread: Spread | None) -> str:
    return "-" if spread is None else format_rate(spread.median)


_RATE = Column(name="img/s ratio")
_RELATIVE, _INTERVAL = Column(name="relative"), Column(name="interval")
_COLUMNS: tuple[tuple[Column, _Cell], ...] = (
    (Column(name="workload", numeric=False), lambda row: row.workload),
    (Column(name="memory before", wide=True), lambda row: bytes_of(row.before.memory)),
    (Column(name="memory after", wide=True), lambda row: bytes_of(row.after.memory)),
    (Column(name="memory"), lambda row: _memory(row.memory)),
    (Column(name="reserved", wide=True), lambda row: _memory(row.reserved)),
    (Column(name="img/s before", wide=True), lambda row: _rate(row.before.throughput)),
    (Column(name="img/s after", wide=True), lambda row: _rate(row.after.throughput)),
    (_RATE, lambda row: _speed(row.absolute)),
    (_RELATIVE, lambda row: _speed(row.relative)),
    (_INTERVAL, _interval),
    (Column(name="finding", numeric=False), _finding),
)


def _filled(found: Comparison, column: Column, cell: _Cell) -> bool:
    if not found.after.timed and column in (_RELATIVE, _INTERVAL):
        return False
    if found.after.machine.null_device and column is _RATE:
        return False
    return not column.wide or any(cell(row) != "-" for row in found.rows)


def _caption(found: Comparison) -> str:
    device = next((row.after.device for row in found.rows), "cpu")
    reference = next((row.relative.reference for row in found.rows if row.relative), "")
    parts = [f"memory: {MEMORY_MEANING[device]}, after / before"]
    if found.after.machine.null_device:
        parts.append("a null device has no speeds")
    else:
        parts.append("img/s ratio: after / before")
    if found.after.evidence == "estimated":
        parts.append("an estimate gives no verdict on speed")
    elif reference:
        parts.append(
            f"relative: the same, relative to {reference} of the same round, so that a slower "
            "machine changes nothing; interval and finding are those of relative"
        )
    return "; ".join([*parts, f"all figures {found.after.evidence}"])
