"""The report of an audit: its setting, its table, what stands in the columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ffprof.analysis.learning.summary import summarise_learning
from ffprof.analysis.ratios import Ratios, ratios_of
from ffprof.analysis.summary import MEMORY_MEANING, Row, Spread, summarise
from ffprof.errors import UsageError
from ffprof.records.audit import Record
from ffprof.records.learning import LearningRecord
from ffprof.report import sections
from ffprof.report.answers import answers
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.header import setting
from ffprof.units import format_about, format_bytes, format_rate, format_ratio

_Cell = Callable[[Row, Record], str]


def table_of(
    record: Record,
    rows: Sequence[Row],
    learned: Learned | None = None,
    ratios: Ratios | None = None,
) -> tuple[tuple[Column, ...], tuple[tuple[str, ...], ...]]:
    """Columns and cells; a wide column without a figure is left out."""
    wanted = list(_ESTIMATED if record.evidence == "estimated" else _MEASURED)
    if record.machine.null_device:
        wanted = [
            (replace(column, wide=column.wide and column.name != "reserved"), cell)
            for column, cell in wanted
            if column.name not in _TIMED
        ]
    if learned is not None:
        found = _accuracies(record, rows, learned)
        beside = "memory" if record.machine.null_device else "img/s"
        column = Column(name="accuracy %")
        _insert_after(beside, wanted, (column, lambda row, _: found[row.workload]))
    if ratios is not None:
        speeds = {} if record.machine.null_device else ratios.speed
        for name, of_rows in (("memory", ratios.memory), ("img/s", speeds)):
            column = Column(name=f"{name} ratio", folded=True)
            if of_rows:
                _insert_after(name, wanted, (column, _ratio_in(of_rows)))
    filled = [
        (column, cells)
        for column, cell in wanted
        if (cells := [cell(row, record) for row in rows])
        if not column.wide or any(text != "-" for text in cells)
    ]
    lines = tuple(tuple(cells[index] for _, cells in filled) for index in range(len(rows)))
    return tuple(column for column, _ in filled), lines


def _accuracies(record: Record, rows: Sequence[Row], learned: Learned) -> dict[str, str]:
    """By workload: what it learned itself, or its method by the same gradients."""
    found = {}
    for row in rows:
        proof = record.ledger[row.workload].gradient if row.workload in record.ledger else None
        alike = proof is None or bool(proof.equal)  # batch norm in parts has other gradients
        of_method = learned.methods.get(row.method, "-") if alike else "-"
        found[row.workload] = learned.workloads.get(row.workload, of_method)
    return found


def _insert_after(name: str, wanted: list[tuple[Column, _Cell]], new: tuple[Column, _Cell]) -> None:
    place = next(at for at, (column, _) in enumerate(wanted) if column.name == name)
    wanted.insert(place + 1, new)


def _ratio_in(of_rows: dict[str, float]) -> _Cell:
    return lambda row, _: format_ratio(of_rows[row.workload]) if row.workload in of_rows else "-"


def caption_of(record: Record, rows: Sequence[Row], ratios: Ratios | None = None) -> str:
    """What the figures in the table are."""
    relative = [] if ratios is None else [f"ratios: to {ratios.reference}{ratios.reason}"]
    if record.evidence == "estimated":
        parts = [
            "memory: allocated peak of a step, steady",
            *relative,
            "reserved: without a limit",
            "retries: times the cache was freed to fit, in a step under the budget",
            "img/s: by a roofline",
            "all figures estimated",
        ]
        return "; ".join(parts)
    device = next((row.device for row in rows if row.outcome), "cpu")
    timed = ["img/s: median over rounds", "loss: the method's own, first step -> last steps"]
    parts = [
        f"memory: {MEMORY_MEANING[device]}",
        *relative,
        *(timed if record.timed else ()),
        *_on_a_gpu(record, rows),
        f"all figures {record.evidence}",
    ]
    return "; ".join(parts)


def _on_a_gpu(record: Record, rows: Sequence[Row]) -> list[str]:
    told = []
    if any(row.uncapped is not None for row in rows):
        told.append("uncapped: reserved if the card were no limit")
    if any(row.capped for row in rows):
        told.append("capped: cached memory was given back to fit")
    energies = [t.energy for t in record.trials if t.energy]
    if energies:
        idle = energies[0].idle_watts
        rest = "" if idle is None else f", of which idle is {idle:.0f} W"
        told.append(f"J/img: of the GPU over the timed steps{rest}")
    return told


def _size(spread: Spread | None) -> str:
    return format_bytes(round(spread.median) if spread else None)


def _outcome(row: Row, _: Record) -> str:
    outcome = row.outcome or "missing"
    return f"{outcome} (!)" if row.marks else outcome


def _reserved(row: Row, _: Record) -> str:
    return f"{_size(row.reserved)} capped" if row.capped else _size(row.reserved)


def _range(row: Row, _: Record) -> str:
    if row.throughput is None:
        return "-"
    low, high = row.speed_range or (row.throughput.low, row.throughput.high)
    return f"{format_rate(low)} to {format_rate(high)}"


def _loss(row: Row, _: Record) -> str:
    if row.loss_first is None or row.loss_last is None:
        return "-"
    return f"{row.loss_first:.2f} -> {row.loss_last:.2f}"


def _joules(row: Row, _: Record) -> str:
    return "-" if row.energy is None else f"{row.energy.median:.3g}"


def _fit(row: Row, _: Record) -> str:
    return (row.fit or row.outcome or "missing").removesuffix(" to call")


def _process(row: Row, _: Record) -> str:
    if row.process_range is None:
        return "-"
    low, high = row.process_range
    return f"{format_bytes(low)} to {format_bytes(high)}"


_TIMED = ("img/s", "img/s range", "J/img", "loss")  # a null device has none
_NAME: tuple[Column, _Cell] = (
    Column(name="workload", numeric=False), lambda row, _: row.workload
)  # fmt: skip
_MICRO: tuple[Column, _Cell] = (
    Column(name="micro", rank=2),
    lambda row, _: "-" if row.micro_batch is None else str(row.micro_batch),
)
_MEMORY: tuple[Column, _Cell] = (Column(name="memory"), lambda row, _: _size(row.memory))
_SPEED: tuple[Column, _Cell] = (
    Column(name="img/s"),
    lambda row, _: format_rate(row.throughput.median if row.throughput else None),
)
_ABOUT: tuple[Column, _Cell] = (
    Column(name="img/s"),
    lambda row, _: format_about(row.throughput.median if row.throughput else None),
)
_EVIDENCE: tuple[Column, _Cell] = (
    Column(name="evidence", numeric=False, wide=True),
    lambda _, record: record.evidence,
)
_START_UP: tuple[Column, _Cell] = (
    Column(name="start-up", wide=True), lambda row, _: _size(row.cold_reserved)
)  # fmt: skip
_MEASURED: tuple[tuple[Column, _Cell], ...] = (
    _NAME,
    _MICRO,
    (Column(name="outcome", numeric=False), _outcome),
    _MEMORY,
    (Column(name="reserved", wide=True), _reserved),
    (Column(name="uncapped", wide=True), lambda row, _: format_bytes(row.uncapped)),
    _START_UP,
    (Column(name="device peak", wide=True), lambda row, _: _size(row.device_peak)),
    (Column(name="host peak", wide=True), lambda row, _: _size(row.host_peak)),
    _SPEED,
    (Column(name="img/s range", wide=True), _range),
    (Column(name="J/img", wide=True), _joules),
    (Column(name="loss", rank=1), _loss),
    (
        Column(name="rounds", wide=True),
        lambda row, record: f"{sum(row.outcomes.values())}/{record.plan.rounds}",
    ),
    _EVIDENCE,
)
_ESTIMATED: tuple[tuple[Column, _Cell], ...] = (
    _NAME,
    (Column(name="micro", rank=3), _MICRO[1]),
    (Column(name="fit", numeric=False), _fit),
    _MEMORY,
    (Column(name="reserved", rank=1), lambda row, _: _size(row.reserved)),
    (
        Column(name="retries", rank=2),
        lambda row, _: "-" if row.retries is None else str(row.retries),
    ),
    _START_UP,
    (Column(name="expandable", wide=True), lambda row, _: _size(row.expandable_reserved)),
    (Column(name="process", wide=True), _process),
    _ABOUT,
    (Column(name="img/s band", wide=True), _range),
    _EVIDENCE,
)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Accuracies in percent as they are printed, and what they were learned on.

    By ``workloads``, and by ``methods`` where a whole batch was learned from at once.
    """

    workloads: dict[str, str]
    methods: dict[str, str]
    meaning: str


def learned_from(study: LearningRecord, name: str) -> Learned:
    """What a study says of methods; schedules with the method's gradients learn the same.

    Args:
        study: of one task.
        name: of its file.

    Raises:
        UsageError: it has several tasks.
    """
    if len(study.plan.tasks) > 1:
        raise UsageError(
            f"{name} sweeps {study.plan.swept}: it has no one accuracy of a method",
            "name a study of one task",
        )
    run_of = {run.workload: run for run in study.runs}
    workloads: dict[str, str] = {}
    methods: dict[str, str] = {}
    for row in summarise_learning(study):
        whole = row.outcomes.get("ok", 0) == row.planned  # what diverged would flatter the rest
        if row.accuracy is not None and whole:
            half = "" if row.accuracy.half is None else f" ± {row.accuracy.half:.1f}"
            workloads[row.workload] = f"{row.accuracy.value:.1f}{half}"
            run = run_of[row.workload]
            if run.micro_batch == study.recipe.batch:
                methods.setdefault(run.method, workloads[row.workload])
    recipe, seeds = study.recipe, len(study.plan.seeds)
    tuned = " and tuned" if study.plan.tuning else ""
    network = (
        f"{recipe.backbone} at width {recipe.width:g} on {recipe.image_size}x{recipe.image_size}"
    )
    meaning = (
        f"accuracy: of the row, or of its method, on test images of {recipe.data}, "
        f"{study.evidence}, trained as {network} for {study.training.epochs} epochs{tuned}, mean "
        f"over {seeds} "
        f"seed{'s' * (seeds != 1)} ({name}); none where a seed "
        "failed, or where gradients are not the method's"
    )
    return Learned(workloads=workloads, methods=methods, meaning=meaning)


def make_document(
    record: Record, learned: Learned | None = None, relative_to: str = ""
) -> Document:
    """The report of a record.

    Args:
        record: an audit.
        learned: accuracies that stand next to memory and speed.
        relative_to: the row that ratios are to; by default the smallest of the family that the
            recipe's claims are against.

    Raises:
        UsageError: ``relative_to`` is no row, or one without figures.
    """
    rows = summarise(record)
    ratios = ratios_of(record, rows, relative_to)
    columns, lines = table_of(record, rows, learned, ratios)
    caption = caption_of(record, rows, ratios)
    if learned is not None:
        caption += f"; {learned.meaning}"
    return printable(
        Document(
            title=f"Systems audit: {record.subject}, {record.evidence}",
            setting=setting(record),
            blocks=(
                Block(columns=columns, rows=lines, caption=caption),
                sections.problems(record, rows),
                sections.verdicts(record),
                *sections.differences(record),
                sections.gradients(record),
                sections.references(record),
                sections.notes(record),
            ),
            answers=answers(record, rows),
        )
    )
