"""The largest size that fits, with the figures there and one step further."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from ffprof.records.estimate import Largest, PeakRow
from ffprof.report.fitting import Shown, about, clean, fitted, flowed
from ffprof.report.peaks import Heading, heading_lines
from ffprof.units import format_bytes

_COLUMNS = (
    Shown(name="workload", numeric=False),
    Shown(name="size"),
    Shown(name="fit", numeric=False),
    Shown(name="allocated"),
    Shown(name="reserved"),
    Shown(name="img/s", rank=2),
    Shown(name="retries", rank=1),
    Shown(name="batch", rank=3),
)
_MEANING = {
    "micro-batch": "size: images at a time; under accumulation the number of micro-batches is "
    "kept, so the batch grows with it; without it, the batch is meant",
    "batch": "size: images an optimizer step; under accumulation the micro-batch is kept and the "
    "batch grows by whole ones; where nothing else grows, the batch costs nothing",
    "depth": "size: blocks of the flat backbone, all alike",
}


def largest_report(heading: Heading, found: Sequence[Largest], width: int) -> Group:
    """Two lines a workload: the largest that fits, and the first that does not."""
    question = found[0].question if found else "batch"
    title = f"Largest {question} that fits: preset {heading.recipe.preset}, estimated"
    cells: list[tuple[str, ...]] = []
    for one in found:
        if one.row is not None:
            cells.append(_cells(one.workload, one.size, one.row))
        if one.next is not None:
            name = one.workload if one.row is None else ""
            cells.append(_cells(name, one.size + one.unit, one.next))
    told = [line for one in found if (line := _remark(one))]
    parts = [*heading_lines(heading, title, width), Text(), fitted(_COLUMNS, cells, width)]
    parts.append(flowed(_MEANING[question], width, style="dim"))
    traces = sum(one.traces for one in found)
    parts.append(flowed(f"by bisection, {traces} sizes traced", width, style="dim"))
    if told:
        parts += [Text(), *(flowed(f" - {line}", width, hang="   ") for line in told)]
    return Group(*parts)


def _cells(name: str, size: int, row: PeakRow) -> tuple[str, ...]:
    fits = row.fit is not None and row.fit.answer != "does not fit"
    memory, speed = row.memory, row.throughput if fits else None
    return (
        clean(name),
        str(size),
        row.fit.answer if row.fit else row.outcome,
        format_bytes(memory.allocated_peak_bytes if memory else None),
        format_bytes(memory.reserved_peak_bytes if memory else None),
        about(speed.images_per_second if speed else None),
        str(row.fit.retries) if row.fit and fits else "-",
        str(row.batch),
    )


def _remark(one: Largest) -> str:
    if one.row is None and one.next is not None and one.next.memory is None:
        return f"{one.workload}: {one.next.message}"
    if one.row is None:
        return f"{one.workload}: not even {one.unit} fits"
    if one.next is None:
        return f"{one.workload}: {one.size:,} fits, and larger ones were not tried"
    return ""
