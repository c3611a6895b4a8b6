"""How memory grows with batch, depth or resolution: a table for every figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ffprof.records.estimate import Growth, PeakRow
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.estimate.table import Heading, StepHeading
from ffprof.units import format_bytes, format_ratio

_NARROW = 5  # values next to the names in 80 columns
_CAPTION = (
    "activations: the most that forward and backward hold at once, with their temporaries; growth: "
    "the power of the {axis} that fits best (1: in proportion, 0: not at all)"
)


def growth_document(
    heading: Heading | StepHeading, found: Sequence[Growth], width: int
) -> Document:
    """Activations, allocated and reserved for every workload and value."""
    axis = found[0].axis if found else "batch"
    problems = {
        f"{one.workload} at {axis} {value}: {row.message}": None
        for one in found
        for value, row in zip(one.values, one.rows, strict=True)
        if row.memory is None
    }
    return printable(
        Document(
            title=f"Memory over {axis}: {heading.subject}, estimated",
            setting=heading.lines(),
            blocks=(
                *(block for figure in _FIGURES for block in _tables(found, *figure, width)),
                Block(caption=_CAPTION.format(axis=axis)),
                Block(heading="Problems", lines=tuple(problems)),
            ),
        )
    )


def _tables(
    found: Sequence[Growth],
    heading: str,
    figure: Callable[[PeakRow], int | None],
    power: Callable[[Growth], float | None],
    width: int,
) -> list[Block]:
    values = found[0].values if found else ()
    groups = [values[at : at + _NARROW] for at in range(0, len(values), _NARROW)]
    if width >= 50 + 11 * len(values):
        groups = [values]
    tables = []
    for number, group in enumerate(groups):
        last = number == len(groups) - 1
        columns = [Column(name="workload", numeric=False)]
        columns += [Column(name=str(value)) for value in group]
        columns += [Column(name="growth"), Column(name="ratio", rank=1)] if last else []
        cells = []
        for one in found:
            at = {value: figure(row) for value, row in zip(one.values, one.rows, strict=True)}
            line = [one.workload, *(format_bytes(at[value]) for value in group)]
            if last:
                line += [_power(power(one)), _ratio(at[values[0]], at[values[-1]])]
            cells.append(tuple(line))
        tables.append(
            Block(heading="" if number else heading, columns=tuple(columns), rows=tuple(cells))
        )
    return tables


def _power(found: float | None) -> str:
    return "-" if found is None else f"{found + 0.0:.2f}".replace("-0.00", "0.00")


def _ratio(first: int | None, last: int | None) -> str:
    return format_ratio(last / first) if first and last is not None else "-"


def allocated(row: PeakRow) -> int | None:
    """The allocated peak."""
    return row.memory.allocated_peak_bytes if row.memory else None


def reserved(row: PeakRow) -> int | None:
    """The reserved peak."""
    return row.memory.reserved_peak_bytes if row.memory else None


def activations(row: PeakRow) -> int | None:
    """What forward and backward hold."""
    return row.activation_peak_bytes


_FIGURES: tuple[
    tuple[str, Callable[[PeakRow], int | None], Callable[[Growth], float | None]], ...
] = (
    ("Activations", activations, lambda one: one.activations_exponent),
    ("Allocated", allocated, lambda one: one.allocated_exponent),
    ("Reserved", reserved, lambda one: one.reserved_exponent),
)
