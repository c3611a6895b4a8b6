"""What ``--dry-run`` says: the plan of an audit with a forecast, as a document like any report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffprof.analysis.statistics.intervals import MIN_ROUNDS
from ffprof.analysis.verdicts import judge
from ffprof.records.audit import Record
from ffprof.records.recipe import FAMILY, FILE_DATA, Claim
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.header import setting
from ffprof.units import format_bytes, format_seconds

ROUNDS_SHOWN = 3
_COLUMNS = (
    Column(name="workload", numeric=False),
    Column(name="schedule", numeric=False, wide=True),
    Column(name="micro"),
    Column(name="family", numeric=False),
    Column(name="memory"),
    Column(name="time"),
)
_MEMORY = {
    "cpu": "memory: forecast peak of live tensors, the figure that a CPU audit measures",
    "cuda": "memory: forecast peak of live tensors; it is not what CUDA's allocator would reserve "
    "and does not say what fits",
}


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """One workload of the plan; ``refused`` and ``reason`` say why figures are None."""

    workload: str
    schedule: str
    micro_batch: int
    family: str
    refused: str = ""
    memory_bytes: int | None = None
    trial_seconds: float | None = None
    left_seconds: float | None = None
    proof_seconds: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PlannedAudit:
    """The whole of a plan.

    Attributes:
        record: as it is before the audit goes on.
        rows: in the order of the table.
        rounds: (number from 0, workloads in the order of their trials) of what is missing.
        device: ``cpu`` or ``cuda``.
        file: where the result would be written.
        start_seconds: what it takes until the first child runs.
        timed_in: the file whose measured times the forecast uses, or empty.
    """

    record: Record
    rows: Sequence[PlannedRow]
    rounds: Sequence[tuple[int, Sequence[str]]]
    device: str
    file: str
    start_seconds: float
    timed_in: str = ""


def make_plan(plan: PlannedAudit) -> Document:
    """The document of a plan."""
    record = plan.record
    return printable(
        Document(
            title=f"Dry run: {record.subject}, to be {record.evidence}; nothing is "
            "measured or written",
            setting=setting(record),
            blocks=(
                Block(
                    columns=_COLUMNS,
                    rows=tuple(_cells(row) for row in plan.rows),
                    caption=f"{_MEMORY[plan.device]}; time: of the row's trials, estimated",
                ),
                Block(heading="Plan", lines=_plan(plan)),
                Block(heading="Forecast, estimated", lines=_forecast(plan)),
                Block(heading="Refused or not forecast", lines=_problems(plan)),
                Block(heading="Claims that would be judged", lines=_claims(record)),
            ),
        )
    )


def _cells(row: PlannedRow) -> tuple[str, ...]:
    time = "-" if row.left_seconds is None else format_seconds(row.left_seconds)
    return (
        row.workload,
        row.schedule,
        str(row.micro_batch),
        row.family,
        "refused" if row.refused else format_bytes(row.memory_bytes),
        time,
    )


def _plan(plan: PlannedAudit) -> tuple[str, ...]:
    record = plan.record
    rounds, names = record.plan.rounds, record.plan.workloads
    done = rounds * len(names) - len(record.missing())
    lines = [
        f"{_count(len(names), 'workload')}, {_count(rounds, 'round')}: "
        f"{_count(rounds * len(names), 'trial')}{f', {done} of them done' if done else ''}"
    ]
    lines += [
        f"round {number + 1}: {', '.join(order)}" for number, order in plan.rounds[:ROUNDS_SHOWN]
    ]
    if len(plan.rounds) > ROUNDS_SHOWN:
        lines.append(f"and {_count(len(plan.rounds) - ROUNDS_SHOWN, 'more round')}, shuffled")
    limit = record.plan.run_limit_seconds
    run = "no limit for the run" if limit is None else f"{limit:g} s for the run"
    lines.append(f"limits: {record.plan.trial_limit_seconds:g} s for a trial, {run}")
    lines += [
        f"workload file {file.path}, sha256 {file.sha256[:12]}: {', '.join(file.workloads)}"
        for file in record.plan.files
    ]
    if record.recipe.data in FILE_DATA:
        lines.append(
            f"data: {record.recipe.data} in {record.recipe.data_root}, fingerprint "
            f"{record.recipe.data_fingerprint[:12]}"
        )
    lines.append(f"the result file: {plan.file}")
    return tuple(lines)


def _count(number: int, thing: str) -> str:
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{number} {thing if number == 1 else plural}"


def _forecast(plan: PlannedAudit) -> tuple[str, ...]:
    record = plan.record
    known = [row for row in plan.rows if row.left_seconds is not None]
    open_ = [row for row in plan.rows if row.left_seconds is None and not row.refused]
    proofs = sum(row.proof_seconds or 0 for row in plan.rows)
    trials = sum(row.left_seconds or 0 for row in known)
    total = plan.start_seconds + proofs + trials
    lines = []
    if known:
        without = f", without {', '.join(row.workload for row in open_)}" if open_ else ""
        lines.append(
            f"about {format_seconds(total)} in all{without}: {format_seconds(plan.start_seconds)} "
            f"to start, {format_seconds(proofs)} for gradient checks, {format_seconds(trials)} for "
            "trials"
        )
        lines.append(
            f"times of trials: what they took in {plan.timed_in}, rough for rows that it lacks"
            if plan.timed_in
            else "times of trials: rough, from one step of each, timed just now"
        )
        if record.recipe.data in FILE_DATA and not plan.timed_in:
            lines.append(
                "loading is in them as far as it is known: as long as that step waited for its "
                "batch"
            )
    peaks = [row for row in plan.rows if row.memory_bytes is not None]
    if peaks:
        worst = max(peaks, key=lambda row: row.memory_bytes or 0)
        lines.append(
            f"one trial runs at a time; the largest holds {format_bytes(worst.memory_bytes)} of "
            f"tensors ({worst.workload}), in addition to PyTorch itself"
        )
    limits = record.plan
    if limits.run_limit_seconds is not None and total > limits.run_limit_seconds:
        lines.append(
            f"that is more than the run's limit of {limits.run_limit_seconds:g} s: trials will be "
            "missing"
        )
    lines += [
        f"{row.workload}: a trial of about {format_seconds(row.trial_seconds or 0)} is over its "
        f"limit of {limits.trial_limit_seconds:g} s"
        for row in known
        if (row.trial_seconds or 0) > limits.trial_limit_seconds
    ]
    return tuple(lines)


def _problems(plan: PlannedAudit) -> tuple[str, ...]:
    lines = [f"{row.workload} is refused: {row.refused}" for row in plan.rows if row.refused]
    for row in plan.rows:
        if row.reason and not row.refused:
            what = [] if row.memory_bytes is not None else ["memory"]
            what += [] if row.left_seconds is not None else ["time"]
            lines.append(f"{row.workload}: {' and '.join(what)} not forecast: {row.reason}")
    return tuple(lines)


def _claims(record: Record) -> tuple[str, ...]:
    judged = {verdict.claim for verdict in judge(record)}
    lines = [_claim(claim) for claim in record.recipe.claims if claim.id in judged]
    if lines and record.plan.rounds < MIN_ROUNDS:
        lines.append(f"on throughput, ratios only: verdicts need {MIN_ROUNDS} rounds")
    return tuple(lines)


def _claim(claim: Claim) -> str:
    baseline = claim.baseline
    if baseline.startswith(FAMILY):
        baseline = f"the best row of family {baseline.removeprefix(FAMILY)}"
    if claim.metric == "memory":
        return f"{claim.challenger} needs less memory than {baseline}"
    return f"{claim.challenger} is at least as fast as {baseline}"
