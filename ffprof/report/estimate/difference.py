"""Two workloads at their peaks: what the one keeps that the other frees, layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ffprof.records.estimate import Against, Difference, Layer, PeakRow
from ffprof.report.document import Block, Column
from ffprof.report.estimate.detail import cut_name, place_of
from ffprof.report.estimate.holdings import middle
from ffprof.units import format_bytes

LINES = 24
_NAME = 15  # characters of a workload at the head of a column


def compare_peaks(ours: PeakRow, theirs: PeakRow) -> Against:
    """Layers are matched by their paths, what runs outside of modules by its operator.

    Raises:
        ValueError: one of them has no figures.
    """
    if ours.peak is None or theirs.peak is None:
        raise ValueError("a row without figures")
    here, there = _held(ours.peak.layers), _held(theirs.peak.layers)
    found = []
    for key in _merged(list(here), list(there)):
        module, operator, category = key
        one, other = here.get(key, 0), there.get(key, 0)
        if one != other:
            found.append(
                Difference(
                    module=module,
                    operator=operator,
                    category=category,
                    ours_bytes=one,
                    theirs_bytes=other,
                )
            )
    return Against(ours=ours, theirs=theirs, differences=tuple(found))


def difference_blocks(made: Against, width: int) -> tuple[Block, ...]:
    """The layers that differ most, in their order, and the totals; names are cut to fit."""
    ours, theirs = made.ours.workload, made.theirs.workload
    places = []
    for row in (made.ours, made.theirs):
        peak = row.peak
        assert peak is not None
        place = place_of(peak.phase, peak.module, peak.operator)
        places.append(f"{row.workload} peaks in {place}")
    ranked = sorted(made.differences, key=lambda one: -abs(one.more_bytes))
    shown = set(map(id, ranked[:LINES]))
    cells = tuple(
        _cells(cut_name(one.module, one.operator, max(22, width - 54)), one)
        for one in made.differences
        if id(one) in shown
    )
    rest, caption = ranked[LINES:], ""
    if rest:
        more = sum(one.more_bytes for one in rest)
        caption = f"and {len(rest)} more, {signed(more)} together"
    return (
        Block(
            heading=f"What {ours} holds at its peak, and {theirs} at its own", text=tuple(places)
        ),
        Block(columns=_columns("layer", made), rows=cells, caption=caption),
        Block(columns=_columns("in all", made), rows=tuple(_totals(made)), caption=_sums(made)),
    )


def signed(size: int) -> str:
    """``+784 MiB``, ``-12 MiB``."""
    return f"{'+' if size > 0 else '-' if size < 0 else ''}{format_bytes(abs(size))}"


def _columns(first: str, made: Against) -> tuple[Column, ...]:
    ours, theirs = (middle(row.workload, _NAME) for row in (made.ours, made.theirs))
    return (
        Column(name=first, numeric=False),
        Column(name="category", numeric=False),
        Column(name=ours),
        Column(name=theirs),
        Column(name="more"),
    )


def _cells(name: str, one: Difference) -> tuple[str, ...]:
    return (
        name,
        one.category,
        format_bytes(one.ours_bytes) if one.ours_bytes else "-",
        format_bytes(one.theirs_bytes) if one.theirs_bytes else "-",
        signed(one.more_bytes),
    )


def _totals(made: Against) -> list[tuple[str, ...]]:
    assert made.ours.peak is not None and made.theirs.peak is not None
    here, there = made.ours.peak.by_category, made.theirs.peak.by_category
    lines: list[tuple[str, ...]] = []
    for name in dict.fromkeys([*here, *there]):
        one, other = here.get(name, 0), there.get(name, 0)
        lines.append(("", name, format_bytes(one), format_bytes(other), signed(one - other)))
    both = (
        ("allocated", made.ours.peak.allocated_bytes, made.theirs.peak.allocated_bytes),
        ("reserved", _reserved(made.ours), _reserved(made.theirs)),
    )
    for name, one, other in both:
        lines.append((name, "", format_bytes(one), format_bytes(other), signed(one - other)))
    return lines


def _reserved(row: PeakRow) -> int:
    return (row.memory.reserved_peak_bytes if row.memory else None) or 0


def _sums(made: Against) -> str:
    keeps = sum(max(0, one.more_bytes) for one in made.differences)
    frees = sum(max(0, -one.more_bytes) for one in made.differences)
    ours, theirs = made.ours.workload, made.theirs.workload
    return (
        f"{ours} holds {format_bytes(keeps)} that {theirs} does not, and {theirs} "
        f"{format_bytes(frees)} that {ours} does not."
    )


def _held(layers: Sequence[Layer]) -> Counter[tuple[str, str, str]]:
    return Counter(
        {
            (one.module, one.operator, category): size
            for one in layers
            for category, size in one.by_category.items()
        }
    )


def _merged(
    ours: Sequence[tuple[str, str, str]], theirs: Iterable[tuple[str, str, str]]
) -> list[tuple[str, str, str]]:
    """Both lists in one order: what only they have stands behind what precedes it there."""
    order = list(ours)
    known, after = set(ours), -1
    for key in theirs:
        if key in known:
            after = order.index(key)
        else:
            after += 1
            order.insert(after, key)
            known.add(key)
    return order
