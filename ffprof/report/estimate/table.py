"""The table of ``ffprof estimate``: what each workload takes of a card, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ffprof.records.estimate import PeakRow
from ffprof.records.recipe import Recipe
from ffprof.report.document import Block, Column, Document, printable
from ffprof.units import format_about, format_bytes, format_rate

_COLUMNS = (
    Column(name="workload", numeric=False),
    Column(name="micro", rank=4),
    Column(name="fit", numeric=False),
    Column(name="allocated"),
    Column(name="reserved"),
    Column(name="gap", rank=3),
    Column(name="retries", rank=2),
    Column(name="expandable", rank=6),
    Column(name="process", rank=5),
    Column(name="start-up", rank=8),
    Column(name="img/s", rank=1),
    Column(name="img/s band", rank=7),
)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What all rows share: the recipe, and the card with what a process takes in addition to
    tensors.

    ``overhead_bytes`` is (low, likely, high). ``varied`` has the fields of the recipe that rows do
    not share, with what stands for them.
    """

    recipe: Recipe
    requested: str
    card: str | None
    total_bytes: int  # what CUDA offers
    overhead_bytes: tuple[int, int, int]
    overhead_measured: bool
    workspaces: bool
    torch: str
    notes: tuple[str, ...] = ()
    varied: Mapping[str, str] = field(default_factory=dict)
    display_bytes: int = 0
    files: tuple[str, ...] = ()  # of the user's own, if all rows are from them
    steps: bool = False  # all rows are steps of the user's own, which the recipe does not bind
    model: str = ""  # by whose name alone there is a row
    step: str = ""  # what is done with it, in words; the recipe's backbone and data are not

    @property
    def subject(self) -> str:
        """What the report is headed by."""
        return self.model or ", ".join(self.files) or f"preset {self.recipe.preset}"

    def lines(self) -> tuple[str, ...]:
        """In words."""
        recipe = self.recipe
        size, batch, micro, backbone = (
            self.varied.get(name, getattr(recipe, name))
            for name in ("image_size", "batch", "micro_batch", "backbone")
        )
        low, likely, high = map(format_bytes, self.overhead_bytes)
        how = (
            f"{likely}, measured here"
            if self.overhead_measured
            else f"{low} to {high}, likely {likely}"
        )
        settings = recipe.flags.allocator_conf
        drawn = f", less {format_bytes(self.display_bytes)} for a desktop"
        own = "the user's own: network, data, batch, precision and optimizer"
        return (
            self.step
            or (own if self.steps else "")
            or f"{backbone} at width {recipe.width:g}, {recipe.norm} norm, {recipe.channels}x"
            f"{size}x{size}, {recipe.classes} classes, batch {batch}, micro-batch {micro}, "
            f"{recipe.precision}, "
            f"{recipe.memory_format.replace('_', ' ')}, {recipe.optimizer.name}",
            f"{self.card or 'a card'} sold with {self.requested}: CUDA offers "
            f"{format_bytes(self.total_bytes)}{drawn if self.display_bytes else ''}; context and "
            f"libraries add {how}",
            f"nothing was run: traced with torch {self.torch}"
            + (f", allocator {settings}" if settings else "")
            + ("" if self.workspaces else ", without workspaces"),
            *self.notes,
        )


@dataclass(frozen=True, kw_only=True)
class StepHeading:
    """What stands above the tables of a step that no recipe binds."""

    subject: str
    told: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """In words."""
        return self.told


def peak_document(heading: Heading | StepHeading, rows: Sequence[PeakRow]) -> Document:
    """All rows; what is wrong with one is said below."""
    problems = tuple(f"{row.workload}: {row.message}" for row in rows if row.message)
    return printable(
        Document(
            title=f"Peak CUDA memory: {heading.subject}, estimated",
            setting=heading.lines(),
            blocks=(
                Block(columns=_COLUMNS, rows=tuple(map(_cells, rows)), caption=_CAPTION),
                Block(heading="Problems", lines=problems),
            ),
        )
    )


_CAPTION = (
    "allocated, reserved: peaks of a steady step without a limit; gap: reserved that is not "
    "allocated; retries: times the cache was freed to fit, in a step under the budget, so reserved "
    "may "
    "exceed it; img/s: by a roofline; all figures estimated"
)


def _cells(row: PeakRow) -> tuple[str, ...]:
    memory, speed = row.memory, row.throughput
    allocated = memory.allocated_peak_bytes if memory else None
    reserved = memory.reserved_peak_bytes if memory else None
    gap = "-"
    if allocated is not None and reserved is not None:
        gap = share(reserved - allocated, reserved)
    process = memory.process_range_bytes if memory else None
    fits = row.fit is not None and row.fit.answer != "does not fit"
    retries = row.fit.retries if row.fit and fits else None
    speed = speed if fits else None
    band = speed.images_per_second_range if speed else None
    return (
        row.workload,
        str(row.micro_batch),
        row.fit.answer if row.fit else row.outcome,
        format_bytes(allocated),
        format_bytes(reserved),
        gap,
        "-" if retries is None else str(retries),
        format_bytes(memory.expandable_reserved_peak_bytes if memory else None),
        between(process),
        format_bytes(memory.cold_reserved_peak_bytes if memory else None),
        format_about(speed.images_per_second if speed else None),
        f"{format_rate(band[0])} to {format_rate(band[1])}" if band else "-",
    )


def share(part: int, whole: int) -> str:
    """``37%``, ``<1%``; ``-`` of nothing."""
    if whole <= 0:
        return "-"
    percent = 100 * part / whole
    return "<1%" if 0 < percent < 0.5 else f"{percent:.0f}%"


def between(limits: tuple[int, int] | None) -> str:
    """``8.73 to 9.36 GiB``, the unit once if it is the same."""
    if limits is None:
        return "-"
    low, high = map(format_bytes, limits)
    same = low.split()[-1] == high.split()[-1]
    return f"{low.split()[0] if same else low} to {high}"
