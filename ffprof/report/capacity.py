"""The report of a search for the largest sizes: one line a workload, and what is not proven."""

from __future__ import annotations

from collections.abc import Sequence

from ffprof.records.audit import is_limited
from ffprof.records.frontier import Capacity, FrontierRecord, Tried
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.estimate.table import Heading, StepHeading, between
from ffprof.report.header import setting
from ffprof.units import format_bytes

_FLAT = "flat-"
_MEASURED = (
    Column(name="workload", numeric=False),
    Column(name="largest"),
    Column(name="batch"),
    Column(name="reserved"),
    Column(name="process"),
    Column(name="fails at"),
    Column(name="by", numeric=False),
    Column(name="runs"),
    Column(name="OOMs", wide=True),
    Column(name="proposed", wide=True),
)
_ESTIMATED = (
    Column(name="workload", numeric=False),
    Column(name="largest"),
    Column(name="batch"),
    Column(name="reserved"),
    Column(name="process", wide=True),
    Column(name="next"),
    Column(name="next fits?", numeric=False),
    Column(name="traced"),
)
_SIZE = {
    "micro-batch": "largest: images at a time; under accumulation the number of micro-batches is "
    "kept, so the batch grows with it",
    "batch": "largest: images an optimizer step; under accumulation the micro-batch is kept",
    "depth": "largest: blocks of the flat backbone, all alike",
}


def _size(grown: str) -> str:
    return _SIZE.get(grown, f"largest: {grown}, as the step takes it")


def capacity_document(record: FrontierRecord) -> Document:
    """The largest size of every workload, and how it is known."""
    grown = record.capacities[0].grown if record.capacities else "micro-batch"
    return _document(
        record.capacities,
        grown,
        title=f"{record.subject}, {record.evidence}",
        lines=_setting(record, grown),
        notes=record.notes,
        estimated=record.evidence == "estimated",
    )


def estimated_capacities(heading: Heading | StepHeading, found: Sequence[Capacity]) -> Document:
    """The same of a search by estimates that leaves no file."""
    return _document(
        found,
        found[0].grown if found else "micro-batch",
        title=f"{heading.subject}, estimated",
        lines=heading.lines(),
        notes=(),  # they are among the lines
        estimated=True,
    )


def _document(
    found: Sequence[Capacity],
    grown: str,
    *,
    title: str,
    lines: tuple[str, ...],
    notes: tuple[str, ...],
    estimated: bool,
) -> Document:
    cells = _estimated_cells if estimated else _measured_cells
    return printable(
        Document(
            title=f"Largest {grown} that fits: {title}",
            setting=lines,
            blocks=(
                Block(
                    columns=_ESTIMATED if estimated else _MEASURED,
                    rows=tuple(cells(one) for one in found),
                    caption=f"{_size(grown)}; {_HOW_ESTIMATED if estimated else _HOW_MEASURED}",
                ),
                Block(heading="Remarks", lines=_remarks(found)),
                Block(heading="Notes", lines=notes),
            ),
        )
    )


_HOW_MEASURED = (
    "batch: effective, at the largest; reserved, process: peaks there, under the budget; fails at: "
    "the smallest size above it that does not fit, known by a run or by a clear estimate (est.); "
    "≥: not proven to be the largest"
)
_HOW_ESTIMATED = (
    "batch: effective, at the largest; reserved, process: there, without a limit, so they may "
    "exceed the card: under the budget the allocator frees its cache, and the size "
    "fits; next: the next size, which is not estimated to fit; all figures estimated"
)


def _measured_cells(one: Capacity) -> tuple[str, ...]:
    there, runs = _tried(one, one.largest), [t for t in one.tried if not _guessed(t)]
    failing = None if one.first_failing is None else _tried(one, one.first_failing)
    return (
        one.workload,
        _largest(one),
        _number(one.batch),
        format_bytes(there.reserved_bytes if there else None),
        format_bytes(there.process_bytes if there else None),
        _number(one.first_failing),
        "-" if failing is None else "est." if _guessed(failing) else "run",
        str(len(runs)),
        str(sum(t.outcome == "oom" for t in runs)),
        _number(one.proposed),
    )


def _estimated_cells(one: Capacity) -> tuple[str, ...]:
    there = _tried(one, one.largest)
    after = None if one.first_failing is None else _tried(one, one.first_failing)
    return (
        one.workload,
        str(one.largest) if one.proposed is not None else "-",
        _number(one.batch),
        format_bytes(there.reserved_bytes if there else None),
        between(there.process_range_bytes if there else None),
        _number(one.first_failing),
        (after.fit or after.outcome) if after else "-",
        str(len(one.tried)),
    )


def _largest(one: Capacity) -> str:
    if one.proven:
        return str(one.largest)
    return f"≥{one.largest}" if one.largest else "-"


def _tried(one: Capacity, size: int) -> Tried | None:
    """What is known of a size: a run, if there was one."""
    of_size = [tried for tried in one.tried if tried.size == size]
    return min(of_size, key=_guessed, default=None)


def _guessed(tried: Tried) -> bool:
    return tried.evidence == "estimated"


def _number(number: int | None) -> str:
    return "-" if number is None else str(number)


def _remarks(found: Sequence[Capacity]) -> tuple[str, ...]:
    told = []
    for one in found:
        message = one.message
        if one.largest == 0 and one.first_failing == one.unit:
            message = "; ".join(filter(None, (f"not even {one.unit} fits", message)))
        if message:
            told.append(f"{one.workload}: {message}")
    return tuple(told)


def _setting(record: FrontierRecord, grown: str) -> tuple[str, ...]:
    recipe, budget = record.recipe, record.budget
    varied: dict[str, str | None] = {"batch": "N"}
    if grown == "depth":
        varied = {"backbone": f"{_FLAT}N-{recipe.backbone.rsplit('-', 1)[-1]}"}
    elif grown == "micro-batch":
        varied["micro_batch"] = "N"
        if recipe.updates_per_batch > 1:
            varied["batch"] = f"N (where it is accumulated {recipe.updates_per_batch} N)"
    offers = format_bytes(budget.total_bytes)
    if is_limited(budget, record.evidence):
        card = f"{budget.requested}, {budget.card}" if budget.card else budget.requested
        limit = f"CUDA memory limited to {offers} ({card}), less context and libraries"
    elif budget.spills:
        limit = (
            f"{budget.card or 'this GPU'}: CUDA offers {offers}, and the allocator is limited to "
            "what context and libraries leave of it"
        )
    else:
        limit = (
            f"{budget.card or 'this GPU'}: CUDA offers {offers}, context and libraries included; "
            "nothing is limited"
        )
    run = "a run is three optimizer steps in a process of its own"
    return setting(record, varied, f"{limit}; {run}")
