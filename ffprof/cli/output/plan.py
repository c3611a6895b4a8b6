"""``ffprof run --dry-run``: what would be run, and what it would take. Writes nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ffprof.analysis.statistics.looks import LOOKS
from ffprof.cli.output.console import Notices
from ffprof.errors import RecordError
from ffprof.experiments.audit.forecast import RowForecast, forecast
from ffprof.experiments.audit.plan import stem_of
from ffprof.experiments.request import Request, plan_rounds
from ffprof.hardware.machine import compare_machines
from ffprof.records.audit import Record
from ffprof.records.store import load, newest_first
from ffprof.report.exporters.terminal import OutputConsole, print_document
from ffprof.report.plan import PlannedAudit, PlannedRow, make_plan
from ffprof.units import format_bytes
from ffprof.workload import Description

LOOKED_AT = 20  # result files, the newest first, for times of the same recipe


def print_plans(requests: Sequence[Request], start_seconds: float, *, looks: bool = False) -> None:
    """The plans of what is to be measured; an estimate is made faster than it is planned.

    With ``looks``, how many rounds it may become is said below.
    """
    for request in requests:
        if request.target is None:
            print_plan(request, start_seconds)
            if looks:
                OutputConsole().print(
                    f"\n--looks: the plan is of the first {LOOKS[0]} rounds; while a claim on "
                    f"throughput is undecided, up to {LOOKS[-1]} may be taken"
                )
        else:
            card = request.record.budget.card or format_bytes(request.target.total_bytes)
            OutputConsole().print(
                f"{request.record.subject} is estimated for {card} first, in about "
                f"a second a row: see it now with --device estimate\n"
            )


def print_plan(request: Request, start_seconds: float) -> None:
    """Forecast and print; ``start_seconds`` is what it took to get this far."""
    if sys.stderr.isatty():
        Notices().print("forecasting ...")
    before, where = _before(request)
    found = forecast(request, before)
    rows = [_row(d, request.record, found.get(d.id, RowForecast())) for d in request.workloads]
    plan = PlannedAudit(
        record=request.record,
        rows=rows,
        rounds=_missing_rounds(request.record),
        device=request.device,
        file=_file(request),
        start_seconds=start_seconds,
        timed_in=where,
    )
    print_document(make_plan(plan), OutputConsole())


def _row(one: Description, record: Record, found: RowForecast) -> PlannedRow:
    return PlannedRow(
        workload=one.id,
        schedule=one.schedule,
        micro_batch=one.micro_batch(record.recipe),
        family=one.family,
        refused=one.objection(record.recipe) or "",
        memory_bytes=found.live_peak_bytes,
        trial_seconds=found.trial_seconds,
        left_seconds=found.left_seconds,
        proof_seconds=found.proof_seconds,
        reason=found.reason,
    )


def _missing_rounds(record: Record) -> list[tuple[int, list[str]]]:
    missing = set(record.missing())
    rounds: dict[int, list[str]] = {}
    for slot in plan_rounds(record.plan.workloads, record.plan.rounds, record.recipe.seed):
        if (slot.round, slot.workload) in missing:
            rounds.setdefault(slot.round, []).append(slot.workload)
    return list(rounds.items())


def _file(request: Request) -> str:
    if request.path.exists():  # it is resumed
        return str(request.path)
    # A run is named by the second that it starts in and its process.
    name = stem_of(request.record.recipe.preset, request.record.plan)
    stem = f"audit-{name}-{request.device}"
    return str(request.path.with_name(f"{stem}-DATE-TIME-PROCESS.json"))


def _before(request: Request) -> tuple[Record | None, str]:
    """The newest record of the same recipe and machine in the folder, and its name."""
    for file in newest_first(request.path.parent)[:LOOKED_AT]:
        try:
            record = load(file)
        except RecordError:
            continue
        other = compare_machines(record.machine, request.record.machine, request.device)
        same = record.recipe_hash == request.record.recipe_hash
        if same and record.trials and not other.hardware:
            return record, str(file)
    return None, ""
