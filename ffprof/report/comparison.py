"""The report of a comparison of two result files, and the same as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ffprof.analysis.comparison import ComparedRow, Comparison, MemoryChange
from ffprof.analysis.speed_changes import SpeedChange
from ffprof.analysis.summary import MEMORY_MEANING, Spread
from ffprof.records.audit import Record
from ffprof.report.columns import Column
from ffprof.report.comparison_lines import bytes_of, changes, in_one_only, problems
from ffprof.report.document import Document, printable, setting_lines
from ffprof.report.sections import Section
from ffprof.units import format_rate, format_ratio

JSON_VERSION = 1
_Cell = Callable[[ComparedRow], str]


def comparison_document(
    found: Comparison, files: tuple[str, str], machines: Sequence[str]
) -> Document:
    """All rows, and what changed in words; ``machines`` says what of them differs."""
    columns = [(column, cell) for column, cell in _COLUMNS if _filled(found, column, cell)]
    return printable(
        Document(
            title=f"Comparison: preset {found.after.recipe.preset}, {found.after.evidence}",
            setting=(
                *setting_lines(found.after)[:2],
                *(
                    f"{when}: {path}, {_run(record)}"
                    for when, path, record in zip(
                        ("before", "after"), files, (found.before, found.after), strict=True
                    )
                ),
            ),
            columns=tuple(column for column, _ in columns),
            rows=tuple(tuple(cell(row) for _, cell in columns) for row in found.rows),
            caption=_caption(found),
            sections=tuple(
                section
                for section in (
                    Section(heading="Machines differ", lines=tuple(machines)),
                    Section(heading="Problems", lines=tuple(problems(found))),
                    Section(heading="What changed", lines=changes(found)),
                    Section(
                        heading="In one record only",
                        lines=tuple(in_one_only(found)),
                    ),
                )
                if section.lines
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
        f"torch {machine.versions.get('torch', '?')}, ffprof {record.ffprof}{commit}"
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


_RELATIVE, _INTERVAL = Column(name="relative"), Column(name="interval")
_COLUMNS: tuple[tuple[Column, _Cell], ...] = (
    (Column(name="workload", numeric=False), lambda row: row.workload),
    (Column(name="memory before", wide=True), lambda row: bytes_of(row.before.memory)),
    (Column(name="memory after", wide=True), lambda row: bytes_of(row.after.memory)),
    (Column(name="memory"), lambda row: _memory(row.memory)),
    (Column(name="reserved", wide=True), lambda row: _memory(row.reserved)),
    (Column(name="img/s before", wide=True), lambda row: _rate(row.before.throughput)),
    (Column(name="img/s after", wide=True), lambda row: _rate(row.after.throughput)),
    (Column(name="img/s ratio"), lambda row: _speed(row.absolute)),
    (_RELATIVE, lambda row: _speed(row.relative)),
    (_INTERVAL, _interval),
    (Column(name="finding", numeric=False), _finding),
)


def _filled(found: Comparison, column: Column, cell: _Cell) -> bool:
    if found.after.evidence == "estimated" and column in (_RELATIVE, _INTERVAL):
        return False
    return not column.wide or any(cell(row) != "-" for row in found.rows)


def _caption(found: Comparison) -> str:
    device = next((row.after.device for row in found.rows), "cpu")
    reference = next((row.relative.reference for row in found.rows if row.relative), "")
    parts = [f"memory: {MEMORY_MEANING[device]}, after / before", "img/s ratio: after / before"]
    if found.after.evidence == "estimated":
        parts.append("an estimate gives no verdict on speed")
    elif reference:
        parts.append(
            f"relative: the same, relative to {reference} of the same round, so that a slower "
            "machine changes nothing; interval and finding are those of relative"
        )
    return "; ".join([*parts, f"all figures {found.after.evidence}"])
