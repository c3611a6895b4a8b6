"""One workload at its peak: what reached it, what is held, by whom, and what is held in vain."""

from __future__ import annotations

from ffprof.records.estimate import HeldSegment, Layer, Peak, PeakRow, ReservedPeak
from ffprof.report.document import Block, Column
from ffprof.report.estimate.table import share
from ffprof.units import format_bytes

LAYERS = 12
SINGLES = 6
SEGMENTS = 4
_BAR = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"


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
    return (
        Block(heading=row.workload, text=tuple(text)),
        *_gap(row, peak.at_reserved, width),
        _categories(peak),
        _layers(peak, width),
        _singles(peak, width),
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


def middle(text: str, most: int) -> str:
    """The text, shortened at its front: the ends of module paths distinguish them."""
    return text if len(text) <= most else "…" + text[len(text) - most + 1 :]


def bar(share: float, width: int) -> str:
    """A bar of ``width`` characters for a share of 1; anything above nothing can be seen."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    eighths = max(eighths, 1) if share > 0 else 0
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


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
            heading="When most is reserved",
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


def _categories(peak: Peak) -> Block:
    held = {**peak.by_category, "rounding and unsplit": peak.slack_bytes}
    columns = (
        Column(name="category", numeric=False),
        Column(name="bytes"),
        Column(name="share"),
        Column(name="", numeric=False),
    )
    whole = peak.allocated_bytes
    cells = [
        (name, format_bytes(n), share(n, whole), bar(n / whole, 30))
        for name, n in sorted(held.items(), key=lambda item: -item[1])
        if n
    ]
    return Block(heading="By category", columns=columns, rows=tuple(cells))


def _layers(peak: Peak, width: int) -> Block:
    """The largest, in the order of modules, so that depth can be read from top to bottom."""
    largest = sorted(peak.layers, key=lambda one: -one.total_bytes)
    shown = set(map(id, largest[:LAYERS]))
    columns = (
        Column(name="layer", numeric=False),
        Column(name="bytes"),
        Column(name="share"),
        Column(name="", numeric=False),
        Column(name="what", numeric=False),
    )
    whole, most = peak.allocated_bytes, max((one.total_bytes for one in largest), default=1)
    cells = []
    for one in peak.layers:
        if id(one) in shown:
            name = cut_name(one.module, one.operator, max(24, width - 54))
            size = one.total_bytes
            line = bar(size / max(most, 1), _BAR)
            cells.append((name, format_bytes(size), share(size, whole), line, _kinds(one)))
    rest, caption = largest[LAYERS:], ""
    if rest:
        size = sum(one.total_bytes for one in rest)
        caption = f"and {len(rest)} more, {format_bytes(size)} together"
    return Block(heading="By layer", columns=columns, rows=tuple(cells), caption=caption)


def _kinds(layer: Layer) -> str:
    """The category that holds most, and that there are others."""
    held = sorted(layer.by_category.items(), key=lambda item: -item[1])
    name, size = held[0]
    if size >= 0.995 * layer.total_bytes or len(held) == 1:
        return name
    return f"{name} {share(size, layer.total_bytes)}"


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
