"""What a report says, before it is decided how it looks.

Exporters (terminal, Markdown) take this document and add nothing; so all of them say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ffprof.compare.summary import MEMORY_MEANING, Row, Spread, summarise
from ffprof.recipe import FILE_DATA
from ffprof.record import Record
from ffprof.report import sections
from ffprof.report.sections import Section
from ffprof.units import format_bytes, format_rate


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table; ``wide`` ones are left out where there is no room."""

    name: str
    numeric: bool = True
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Document:
    """Title, what was run, the table, and what must be said with it."""

    title: str
    setting: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    sections: tuple[Section, ...]


COLUMNS = (
    Column(name="workload", numeric=False),
    Column(name="micro"),
    Column(name="outcome", numeric=False),
    Column(name="memory"),
    Column(name="reserved", wide=True),
    Column(name="start-up", wide=True),
    Column(name="device peak", wide=True),
    Column(name="host peak", wide=True),
    Column(name="img/s"),
    Column(name="img/s range", wide=True),
    Column(name="loss"),
    Column(name="rounds", wide=True),
    Column(name="evidence", numeric=False, wide=True),
)


def make_document(record: Record) -> Document:
    """The report of a record."""
    rows = summarise(record)
    cells = [_cells(row, record) for row in rows]
    keep = [
        index
        for index, column in enumerate(COLUMNS)
        if not column.wide or any(line[index] != "-" for line in cells)
    ]
    return printable(
        Document(
            title=f"Systems audit: preset {record.recipe.preset}, {record.evidence}",
            setting=setting_lines(record),
            columns=tuple(COLUMNS[index] for index in keep),
            rows=tuple(tuple(line[index] for index in keep) for line in cells),
            caption=_caption(record, rows),
            sections=tuple(
                section
                for section in (
                    sections.problems(record, rows),
                    sections.verdicts(record),
                    sections.differences(record),
                    sections.gradients(record),
                    sections.references(record),
                    Section(heading="Notes", lines=record.notes),
                )
                if section.lines
            ),
        )
    )


def printable(document: Document) -> Document:
    """Without what a terminal might obey: names and messages may come from anywhere."""
    return Document(
        title=_clean(document.title),
        setting=tuple(map(_clean, document.setting)),
        columns=document.columns,
        rows=tuple(tuple(map(_clean, row)) for row in document.rows),
        caption=_clean(document.caption),
        sections=tuple(
            Section(heading=_clean(s.heading), lines=tuple(map(_clean, s.lines)))
            for s in document.sections
        ),
    )


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def setting_lines(record: Record) -> tuple[str, ...]:
    """What is run on what, in lines under the title."""
    recipe, machine = record.recipe, record.machine
    budget = record.budget
    held: tuple[str, ...] = ()
    if budget.limit_bytes is not None:
        held = (
            f"CUDA memory held to {format_bytes(budget.limit_bytes)}"
            f" ({budget.requested}{f', {budget.card}' if budget.card else ''}), less "
            f"{format_bytes(budget.debit_bytes)} for context and other processes",
        )
    return (
        f"{recipe.backbone} at width {recipe.width:g}, {recipe.norm} norm, {recipe.data} images "
        f"{recipe.channels}x{recipe.image_size}x{recipe.image_size}, {recipe.classes} classes",
        *_data(record),
        f"effective batch {recipe.batch}, micro-batch {recipe.micro_batch}, {recipe.precision}, "
        f"{recipe.memory_format.replace('_', ' ')}, {recipe.optimizer.name}, seed {recipe.seed}",
        f"{machine.gpu or machine.cpu}, {_threads(recipe.threads)}, "
        f"torch {machine.versions.get('torch', '?')}"
        + (f", commit {machine.commit}" if machine.commit else ""),
        *held,
    )


def _data(record: Record) -> tuple[str, ...]:
    """Which files were read, for data from files."""
    recipe = record.recipe
    if recipe.data not in FILE_DATA:
        return ()
    known = (row.facts.get("images_per_epoch") for row in record.ledger.values())
    images = next((number for number in known if isinstance(number, int)), None)
    return (
        f"data {PurePath(recipe.data_root).name} ({recipe.data_fingerprint[:12]}), "
        + (f"{images:,} images an epoch, " if images else "")
        + f"loader workers {recipe.data_workers or 0}",
    )


def _threads(count: int | None) -> str:
    return f"{count or 'default'} CPU thread{'' if count == 1 else 's'}"


def _caption(record: Record, rows: Sequence[Row]) -> str:
    device = next((row.device for row in rows if row.outcome), "cpu")
    parts = [
        f"memory: {MEMORY_MEANING[device]}",
        "img/s: median over rounds",
        "loss: the method's own, first step -> last steps",
        f"all figures {record.evidence}",
    ]
    return "; ".join(parts)


def _cells(row: Row, record: Record) -> tuple[str, ...]:
    speed = row.throughput
    loss = "-"
    if row.loss_first is not None and row.loss_last is not None:
        loss = f"{row.loss_first:.2f} -> {row.loss_last:.2f}"
    outcome = row.outcome or "missing"
    done = sum(row.outcomes.values())
    return (
        row.workload,
        "-" if row.micro_batch is None else str(row.micro_batch),
        f"{outcome} (!)" if row.marks else outcome,
        _size(row.memory),
        f"{_size(row.reserved)} capped" if row.capped else _size(row.reserved),
        _size(row.cold_reserved),
        _size(row.device_peak),
        _size(row.host_peak),
        format_rate(speed.median if speed else None),
        f"{format_rate(speed.low)} to {format_rate(speed.high)}" if speed else "-",
        loss,
        f"{done}/{record.plan.rounds}",
        record.evidence,
    )


def _size(spread: Spread | None) -> str:
    return format_bytes(round(spread.median) if spread else None)
