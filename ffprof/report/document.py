"""What a report says, before it is decided how it looks.

Exporters (terminal, Markdown) take this document and add nothing; so all of them say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from ffprof.analysis.summary import summarise
from ffprof.records.audit import Budget, Evidence, Record
from ffprof.records.recipe import FILE_DATA
from ffprof.report import sections
from ffprof.report.columns import Column, caption_of, table_of
from ffprof.report.sections import Section
from ffprof.units import format_bytes


@dataclass(frozen=True, kw_only=True)
class Document:
    """Title, what was run, the table, and what must be said with it."""

    title: str
    setting: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    sections: tuple[Section, ...]


def make_document(record: Record) -> Document:
    """The report of a record."""
    rows = summarise(record)
    columns, lines = table_of(record, rows)
    return printable(
        Document(
            title=f"Systems audit: preset {record.recipe.preset}, {record.evidence}",
            setting=setting_lines(record),
            columns=columns,
            rows=lines,
            caption=caption_of(record, rows),
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
    where = f"{machine.gpu or machine.cpu}, {_threads(recipe.threads)}, "
    if record.evidence == "estimated":
        where = "nothing was run: traced with "
        held = (estimated_budget_line(budget),)
    elif budget.total_bytes is not None:
        held = (budget_line(budget, record.evidence),)
    return (
        f"{recipe.backbone} at width {recipe.width:g}, {recipe.norm} norm, {recipe.data} images "
        f"{recipe.channels}x{recipe.image_size}x{recipe.image_size}, {recipe.classes} classes",
        *_data(record),
        f"effective batch {recipe.batch}, micro-batch {recipe.micro_batch}, {recipe.precision}, "
        f"{recipe.memory_format.replace('_', ' ')}, {recipe.optimizer.name}, seed {recipe.seed}",
        f"{where}torch {machine.versions.get('torch', '?')}"
        + (f", commit {machine.commit}" if machine.commit else ""),
        *held,
    )


def estimated_budget_line(budget: Budget) -> str:
    """What an estimate is held to, and what is likely left out of it."""
    drawn = f"{format_bytes(budget.display_bytes)} for a desktop" if budget.display_bytes else ""
    return (
        f"{budget.card or 'a card'} sold with {budget.requested}: CUDA offers "
        f"{format_bytes(budget.total_bytes)}{drawn and f', less {drawn}'}, of which context "
        f"and libraries likely take {format_bytes(budget.debit_bytes)}"
    )


def budget_line(budget: Budget, evidence: Evidence) -> str:
    """What trials on a GPU had, and what was left out of it."""
    offers = f"CUDA offers {format_bytes(budget.total_bytes)}"
    if budget.display_bytes:
        offers += f", a desktop takes {format_bytes(budget.display_bytes)}"
    if budget.debit_bytes is None:
        debit = "what context and libraries take is not known yet"
    else:
        debit = f"context and libraries take {format_bytes(budget.debit_bytes)}"
        debit += f", tensors have {format_bytes(budget.limit_bytes)}"
    if evidence != "emulated":
        return f"{budget.card or 'this GPU'}: {offers}; {debit}"
    card = budget.card or "a card"
    return f"held to {card} sold with {budget.requested}: {offers} there; {debit}"


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
