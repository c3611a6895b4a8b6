"""One workload at its peak: what reached it, what is held, by whom, and what is held in vain."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ffprof.records.estimate import HeldSegment, Layer, Peak, PeakRow, ReservedPeak
from ffprof.report.layout import Shown, bar, clean, fitted, flowed, middle, percent
from ffprof.units import format_bytes

LAYERS = 12
SINGLES = 6
SEGMENTS = 4
_BAR = 12


def peak_details(row: PeakRow, width: int) -> Group:
    """Everything that is known of one workload's peak.

    Raises:
        ValueError: nothing is.
    """
    peak = row.peak
    if peak is None:
        raise ValueError(f"{row.workload} has no figures")
    parts: list[RenderableType] = [Text(), Text(clean(row.workload), style="bold")]
    parts.append(flowed(_reached(peak), width))
    if row.fit and row.fit.ran_out:
        lost = row.fit.ran_out
        told = place_of(lost.phase, lost.module, lost.operator)
        parts.append(
            flowed(
                f"Held to {format_bytes(row.fit.capacity_bytes)} it runs out in {told}, asking for "
                f"{format_bytes(lost.asked_bytes)} with {format_bytes(lost.free_bytes)} free.",
                width,
            )
        )
    parts += _gap(row, peak.at_reserved, width)
    parts += _categories(peak, width)
    parts += _layers(peak, width)
    parts += _singles(peak, width)
    return Group(*parts)


def place_of(phase: str, module: str, operator: str) -> str:
    """``backward of features.3 (relu)``."""
    where = f"{phase} of {module}" if module else f"{phase}, outside modules"
    return f"{where} ({short(operator)})" if operator else where


def short(operator: str) -> str:
    """An operator without the name of its library."""
    return operator.removeprefix("aten.")


def layer_name(module: str, operator: str) -> str:
    """A module's path; what runs outside of all modules by its operator."""
    return f"outside: {short(operator)}" if operator else module


def cut_name(module: str, operator: str, most: int) -> str:
    """A layer's name in ``most`` characters: of a path its end, of an operator its beginning."""
    name = clean(layer_name(module, operator))
    if operator and len(name) > most:
        return name[: most - 1] + "…"
    return middle(name, most)


def _reached(peak: Peak) -> str:
    place = place_of(peak.phase, peak.module, peak.operator)
    return f"Peaks at {format_bytes(peak.allocated_bytes)} allocated in {place}."


def _gap(row: PeakRow, moment: ReservedPeak, width: int) -> list[RenderableType]:
    parts = moment.fragments
    reserved = moment.reserved_bytes
    asked = moment.allocated_bytes - moment.slack_bytes
    lines = (
        ("asked for", asked, "tensors and workspaces"),
        ("+ rounding", parts.rounding_bytes, "requests are rounded up to 512 B or more"),
        ("+ unsplit", parts.unsplit_bytes, "remainders too small to be split off"),
        ("= allocated", moment.allocated_bytes, "at this moment"),
        ("+ stuck", parts.stuck_bytes, "free in segments that are in use"),
        ("+ cached", parts.cached_bytes, "free, given back when memory runs short"),
        ("= reserved", reserved, "the most of a step"),
    )
    columns = (
        Shown(name="held", numeric=False),
        Shown(name="bytes"),
        Shown(name="share"),
        Shown(name="", numeric=False),
    )
    cells = [(name, format_bytes(n), percent(n, reserved), told) for name, n, told in lines]
    made: list[RenderableType] = [Text(), Text("When most is reserved", style="bold")]
    place = place_of(moment.phase, moment.module, moment.operator)
    made += [flowed(f"That is in {place}.", width), fitted(columns, cells, width)]
    made += [flowed(line, width) for line in _remarks(row)]
    if moment.segments:
        made += [
            flowed(f"{moment.segment_count} segments; most is free in:", width),
            _segments(moment.segments[:SEGMENTS], width),
        ]
    return made


def _remarks(row: PeakRow) -> list[str]:
    memory = row.memory
    if memory is None or memory.reserved_peak_bytes is None:
        return []
    reserved, other = memory.reserved_peak_bytes, memory.expandable_reserved_peak_bytes
    if other is None or "expandable_segments:True" in row.allocator_conf:
        return []
    if other == reserved:
        return ["With expandable_segments as much would be reserved."]
    difference = "less" if other < reserved else "more"
    return [
        f"With expandable_segments, {format_bytes(other)} would be reserved: "
        f"{format_bytes(abs(reserved - other))} {difference}."
    ]


def _segments(segments: Sequence[HeldSegment], width: int) -> RenderableType:
    columns = (
        Shown(name="segment"),
        Shown(name="free"),
        Shown(name="largest hole"),
        Shown(name="held by", numeric=False),
    )
    cells = [
        (
            format_bytes(one.size_bytes),
            format_bytes(one.free_bytes),
            format_bytes(one.largest_free_bytes),
            middle(clean(_holder(one)), max(20, width - 42)),
        )
        for one in segments
    ]
    return fitted(columns, cells, width)


def _holder(one: HeldSegment) -> str:
    if not one.blocks_in_use:
        return "nothing: cached"
    more = f" and {one.blocks_in_use - 1} more" if one.blocks_in_use > 1 else ""
    return one.holder + more


def _categories(peak: Peak, width: int) -> list[RenderableType]:
    held = {**peak.by_category, "rounding and unsplit": peak.slack_bytes}
    columns = (
        Shown(name="category", numeric=False),
        Shown(name="bytes"),
        Shown(name="share"),
        Shown(name="", numeric=False),
    )
    whole = peak.allocated_bytes
    cells = [
        (name, format_bytes(n), percent(n, whole), bar(n / whole, 30))
        for name, n in sorted(held.items(), key=lambda item: -item[1])
        if n
    ]
    return [Text(), Text("By category", style="bold"), fitted(columns, cells, width)]


def _layers(peak: Peak, width: int) -> list[RenderableType]:
    """The largest, in the order of modules, so that depth can be read from top to bottom."""
    largest = sorted(peak.layers, key=lambda one: -one.total_bytes)
    shown = set(map(id, largest[:LAYERS]))
    columns = (
        Shown(name="layer", numeric=False),
        Shown(name="bytes"),
        Shown(name="share"),
        Shown(name="", numeric=False),
        Shown(name="what", numeric=False),
    )
    whole, most = peak.allocated_bytes, max((one.total_bytes for one in largest), default=1)
    cells = []
    for one in peak.layers:
        if id(one) in shown:
            name = cut_name(one.module, one.operator, max(24, width - 54))
            size = one.total_bytes
            line = bar(size / max(most, 1), _BAR)
            cells.append((name, format_bytes(size), percent(size, whole), line, _kinds(one)))
    made: list[RenderableType] = [Text(), Text("By layer", style="bold")]
    made.append(fitted(columns, cells, width))
    rest = largest[LAYERS:]
    if rest:
        size = sum(one.total_bytes for one in rest)
        made.append(Text(f"and {len(rest)} more, {format_bytes(size)} together", style="dim"))
    return made


def _kinds(layer: Layer) -> str:
    """The category that holds most, and that there are others."""
    held = sorted(layer.by_category.items(), key=lambda item: -item[1])
    name, size = held[0]
    if size >= 0.995 * layer.total_bytes or len(held) == 1:
        return name
    return f"{name} {percent(size, layer.total_bytes)}"


def _singles(peak: Peak, width: int) -> list[RenderableType]:
    columns = (
        Shown(name="bytes"),
        Shown(name="category", numeric=False),
        Shown(name="made by", numeric=False),
    )
    cells = [
        (
            format_bytes(one.nbytes),
            one.category,
            middle(clean(f"{one.module.strip('()')}: {short(one.operator)}"), max(20, width - 30)),
        )
        for one in peak.largest[:SINGLES]
    ]
    title = Text("Largest single allocations", style="bold")
    return [Text(), title, fitted(columns, cells, width)]
