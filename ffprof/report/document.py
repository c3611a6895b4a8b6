"""What a report says, before it is decided how it looks.

Exporters (terminal, Markdown) take this document and add nothing; so all of them say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffprof.compare.ledger import agreements, differences
from ffprof.compare.summary import MEMORY_MEANING, Row, Spread, summarise
from ffprof.compare.verdicts import count_supported
from ffprof.record import Fact, GradientProof, Record
from ffprof.units import format_bytes, format_rate


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table; ``wide`` ones are left out where there is no room."""

    name: str
    numeric: bool = True
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with lines under it."""

    heading: str
    lines: tuple[str, ...]


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
    return Document(
        title=f"Systems audit: preset {record.recipe.preset}, {record.evidence}",
        setting=_setting(record),
        columns=tuple(COLUMNS[index] for index in keep),
        rows=tuple(tuple(line[index] for index in keep) for line in cells),
        caption=_caption(record, rows),
        sections=tuple(
            section
            for section in (
                _problems(record, rows),
                _verdicts(record),
                _differences(record),
                _gradients(record),
                _references(record),
                Section(heading="Notes", lines=record.notes),
            )
            if section.lines
        ),
    )


def _setting(record: Record) -> tuple[str, ...]:
    recipe, machine = record.recipe, record.machine
    return (
        f"{recipe.backbone} at width {recipe.width:g}, {recipe.norm} norm, {recipe.data} images "
        f"{recipe.channels}x{recipe.image_size}x{recipe.image_size}, {recipe.classes} classes",
        f"effective batch {recipe.batch}, micro-batch {recipe.micro_batch}, {recipe.precision}, "
        f"{recipe.optimizer.name}, seed {recipe.seed}, {recipe.threads or 'default'} CPU threads",
        f"{machine.gpu or machine.cpu}, torch {machine.versions.get('torch', '?')}"
        + (f", commit {machine.commit}" if machine.commit else ""),
    )


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
        _size(row.reserved),
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


def _problems(record: Record, rows: Sequence[Row]) -> Section:
    lines = []
    for row in rows:
        lines += [f"{row.workload}: {mark}; it can win no claim" for mark in row.marks]
        counts = ", ".join(f"{number} {name}" for name, number in row.outcomes.items())
        if row.outcome and row.outcome != "ok":
            lines.append(f"{row.workload}: {counts}; {'; '.join(row.messages)}")
        if row.memory and row.memory.low != row.memory.high:
            lines.append(
                f"{row.workload}: memory does not repeat to the byte between rounds, "
                f"{row.memory.low:,.0f} to {row.memory.high:,.0f} B"
            )
    missing = record.missing()
    if missing:
        rounds = ", ".join(f"round {number + 1} {name}" for number, name in missing[:12])
        more = f" and {len(missing) - 12} more" if len(missing) > 12 else ""
        lines.append(f"missing {len(missing)} trials: {rounds}{more}")
    return Section(heading="Problems", lines=tuple(lines))


def _verdicts(record: Record) -> Section:
    yes, no, open_ = count_supported(record.verdicts)
    heading = f"Verdicts ({yes} supported, {no} not supported, {open_} undecided)"
    return Section(heading=heading, lines=tuple(v.sentence for v in record.verdicts))


def _differences(record: Record) -> Section:
    lines = []
    for difference in differences(record.ledger):
        groups: dict[Fact, list[str]] = {}
        for workload, value in difference.values.items():
            groups.setdefault(value, []).append(workload)
        ordered = sorted(groups.items(), key=lambda item: len(item[1]))
        told = [f"{_fact(value)} in {', '.join(names)}" for value, names in ordered[:-1]]
        value, names = ordered[-1]
        told.append(f"{_fact(value)} in {names[0] if len(names) == 1 else 'the others'}")
        lines.append(f"{difference.fact.replace('_', ' ')}: {'; '.join(told)}")
    same = agreements(record.ledger)
    if same:
        lines.append("the same in all rows: " + ", ".join(n.replace("_", " ") for n in same))
    return Section(heading="Differences between rows", lines=tuple(lines))


def _fact(value: Fact) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return "none" if value is None else str(value)
    return f"{value:,}"


def _gradients(record: Record) -> Section:
    proofs = {name: row.gradient for name, row in record.ledger.items() if row.gradient}
    lines = [
        f"{name}: {_proof(proof)}" for name, proof in proofs.items() if name != proof.reference
    ]
    heading = "Gradients against the method's full batch (float64, on the host)"
    return Section(heading=heading, lines=tuple(lines))


def _proof(proof: GradientProof) -> str:
    if proof.equal is None or proof.relative_difference is None:
        return proof.message
    where = f"{proof.batch} images of {proof.image_size}x{proof.image_size}"
    if proof.equal:
        worst = proof.max_relative_difference or 0.0
        size = "exactly" if worst == 0 else f"to {worst:.0e}"
        return f"equal to {proof.reference} {size} ({where})"
    return (
        f"differs from {proof.reference} by {proof.relative_difference:.1e} overall, up to "
        f"{proof.max_relative_difference:.1e} in {proof.parameter} ({where} in micro-batches of "
        f"{proof.micro_batch})"
    )


def _references(record: Record) -> Section:
    lines = [
        f"{r.label}: {r.memory_text}, {r.images_per_second:g} img/s ({r.source})"
        for r in record.recipe.references
    ]
    return Section(
        heading="Published elsewhere, not measured here and not comparable", lines=tuple(lines)
    )
