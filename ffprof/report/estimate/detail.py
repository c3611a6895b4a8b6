"""One workload at its peak: what reached it, what is held, by whom, and what is held in vain."""

from __future__ import annotations

from ffprof.records.estimate import HeldSegment, Peak, PeakRow, ReservedPeak
from ffprof.report.document import Block, Column
from ffprof.report.estimate.holdings import by_line, by_module, by_name, middle
from ffprof.report.estimate.table import share
from ffprof.units import format_bytes

ROUNDING = "rounding and unsplit"
SINGLES = 6
SEGMENTS = 4


def peak_details(row: PeakRow, width: int) -> tuple[Block, ...]:
    """Everything that is known of one workload's peak; names are cut to fit the width.

    Raises:
        ValueError: nothing is.
    """
    peak = row.peak
    if peak is None:
        raise ValueError(f"{row.workload} has no figures")
    text = [_reached(peak)]
    if row.fit and row.fit.ran_out:
        lost = row.fit.ran_out
        told = place_of(lost.phase, lost.module, lost.operator)
        text.append(
            f"Limited to {format_bytes(row.fit.capacity_bytes)} it runs out of memory in {told}, "
            f"requesting "
            f"{format_bytes(lost.asked_bytes)} with {format_bytes(lost.free_bytes)} free."
        )
    held, whole = {**peak.by_category, ROUNDING: peak.slack_bytes}, peak.allocated_bytes
    return (
        Block(heading=f"{row.workload}: when most is allocated", text=tuple(text)),
        by_name("By category", "category", held, whole),
        by_name("By phase", "made in", {**peak.by_phase, ROUNDING: peak.slack_bytes}, whole),
        by_module(peak.layers, whole, width),
        by_line(peak.lines, whole, width),
        _singles(peak, width),
        *_gap(row, peak.at_reserved, width),
    )


def place_of(phase: str, module: str, operator: str) -> str:
    """``backward of features.3 (relu)``."""
    outside = "the optimizer step" if phase == "optimizer" else f"{phase}, outside modules"
    where = f"{phase} of {module}" if module else outside
    return f"{where} ({short(operator)})" if operator else where


def short(operator: str) -> str:
    """An operator without the name of its library."""
    return operator.removeprefix("aten.")


def layer_name(module: str, operator: str) -> str:
    """A module's path; what runs outside of all modules by its operator."""
    return f"outside: {short(operator)}" if operator else module


def cut_name(module: str, operator: str, most: int) -> str:
    """A layer's name in ``most`` characters: of a path its end, of an operator its beginning."""
    name = layer_name(module, operator)
    if operator and len(name) > most:
        return name[: most - 1] + "…"
    return middle(name, most)


def _reached(peak: Peak) -> str:
    place = place_of(peak.phase, peak.module, peak.operator)
    return f"Peaks at {format_bytes(peak.allocated_bytes)} allocated in {place}."


def _gap(row: PeakRow, moment: ReservedPeak, width: int) -> list[Block]:
    parts = moment.fragments
    reserved = moment.reserved_bytes
    asked = moment.allocated_bytes - moment.slack_bytes
    lines = (
        ("requested", asked, "tensors and workspaces"),
        ("+ rounding", parts.rounding_bytes, "requests are rounded up to 512 B or more"),
        ("+ unsplit", parts.unsplit_bytes, "remainders too small to be split off"),
        ("= allocated", moment.allocated_bytes, "at this moment"),
        ("+ stuck", parts.stuck_bytes, "free in segments that are in use"),
        ("+ cached", parts.cached_bytes, "free, released when memory runs short"),
        ("= reserved", reserved, "peak of a step"),
    )
    columns = (
        Column(name="held", numeric=False),
        Column(name="bytes"),
        Column(name="share"),
        Column(name="", numeric=False),
    )
    place = place_of(moment.phase, moment.module, moment.operator)
    made = [
        Block(
            heading=f"{row.workload}: when most is reserved",
            text=(f"That is in {place}.",),
            columns=columns,
            rows=tuple(
                (name, format_bytes(n), share(n, reserved), told) for name, n, told in lines
            ),
            caption=_remark(row),
        )
    ]
    if moment.segments:
        made.append(_segments(moment, width))
    return made


def _remark(row: PeakRow) -> str:
    memory = row.memory
    if memory is None or memory.reserved_peak_bytes is None:
        return ""
    reserved, other = memory.reserved_peak_bytes, memory.expandable_reserved_peak_bytes
    if other is None or "expandable_segments:True" in row.allocator_conf:
        return ""
    if other == reserved:
        return "With expandable_segments as much would be reserved."
    difference = "less" if other < reserved else "more"
    return (
        f"With expandable_segments, {format_bytes(other)} would be reserved: "
        f"{format_bytes(abs(reserved - other))} {difference}."
    )


def _segments(moment: ReservedPeak, width: int) -> Block:
    columns = (
        Column(name="segment"),
        Column(name="free"),
        Column(name="largest hole"),
        Column(name="held by", numeric=False),
    )
    cells = [
        (
            format_bytes(one.size_bytes),
            format_bytes(one.free_bytes),
            format_bytes(one.largest_free_bytes),
            middle(_holder(one), max(20, width - 42)),
        )
        for one in moment.segments[:SEGMENTS]
    ]
    text = f"{moment.segment_count} segments; most is free in:"
    return Block(text=(text,), columns=columns, rows=tuple(cells))


def _holder(one: HeldSegment) -> str:
    if not one.blocks_in_use:
        return "nothing: cached"
    more = f" and {one.blocks_in_use - 1} more" if one.blocks_in_use > 1 else ""
    return one.holder + more


def _singles(peak: Peak, width: int) -> Block:
    columns = (
        Column(name="bytes"),
        Column(name="category", numeric=False),
        Column(name="made by", numeric=False),
    )
    cells = [
        (
            format_bytes(one.nbytes),
            one.category,
            middle(f"{one.module.strip('()')}: {short(one.operator)}", max(20, width - 30)),
        )
        for one in peak.largest[:SINGLES]
    ]
    return Block(heading="Largest single allocations", columns=columns, rows=tuple(cells))
