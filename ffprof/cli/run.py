"""``ffprof run``: the audit. Parses, checks everything that can be checked, runs, prints.

With ``--max-batch`` or ``--max-depth``, the largest size of every workload that fits.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from ffprof.analysis.statistics.looks import next_look
from ffprof.analysis.verdicts import undecided
from ffprof.cli.common_options import (
    BACKBONE,
    BATCH,
    CARD,
    CARD_FILE,
    DATA,
    DATA_WORKERS,
    DISPLAY,
    DOWNLOAD,
    GPU_MEM,
    IMAGE_SIZE,
    MEMORY_FORMAT,
    MICRO_BATCH,
    NORM,
    ON_FOREIGN,
    PRECISION,
    PRESET,
    SEED,
    STEPS,
    THREADS,
    TIME_LIMIT,
    WIDTH,
    WORKLOAD_FILE,
    WORKLOADS,
    OnForeign,
    first_look,
    written_options,
)
from ffprof.cli.interrupts import Terminated, end_when_asked, interrupt_code
from ffprof.cli.progress import progress_for
from ffprof.errors import NothingMeasuredError
from ffprof.estimator.overhead import remember
from ffprof.experiments.audit.runner import run_audit
from ffprof.experiments.campaign import Outcome
from ffprof.experiments.capacity.plan import _asked, _prepared
from ffprof.experiments.capacity.runner import find_capacities
from ffprof.experiments.options import Options
from ffprof.experiments.request import Request
from ffprof.records.audit import Record
from ffprof.records.frontier import Capacity
from ffprof.report.capacity import capacity_document
from ffprof.report.exporters.terminal import OutputConsole, print_document, print_report


class _Device(StrEnum):
    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"
    estimate = "estimate"


def run(
    context: typer.Context,
    preset: str = PRESET,
    workloads: str = WORKLOADS,
    workload_file: list[Path] = WORKLOAD_FILE,
    device: _Device = typer.Option(
        _Device.auto,
        help="Where to measure; estimate measures nothing. Without a GPU, auto estimates the "
        "recipe for the card, and measures preset small here.",
    ),
    gpu_mem: str = GPU_MEM,
    card: str = CARD,
    card_file: list[Path] = CARD_FILE,
    display: bool = DISPLAY,
    rounds: int = typer.Option(
        3, min=1, max=1000, help="Trials of each workload; throughput gets verdicts at 5, 9 and 15."
    ),
    looks: bool = typer.Option(
        False,
        "--looks",
        help="Take 5 rounds, and 9 and 15 while a claim on throughput is undecided.",
    ),
    backbone: str = BACKBONE,
    width: float = WIDTH,
    norm: str = NORM,
    image_size: int = IMAGE_SIZE,
    batch: int = BATCH,
    micro_batch: int = MICRO_BATCH,
    precision: str = PRECISION,
    memory_format: str = MEMORY_FORMAT,
    data: str = DATA,
    data_workers: int = DATA_WORKERS,
    download: bool = DOWNLOAD,
    seed: int = SEED,
    threads: int = THREADS,
    steps: int = STEPS,
    on_foreign: OnForeign = ON_FOREIGN,
    time_limit: float = TIME_LIMIT,
    run_limit: float = typer.Option(
        None, min=0.1, help="Seconds the whole run may take; what is done by then is kept."
    ),
    out: Path = typer.Option(Path("audits"), help="Folder for the result file."),
    resume: Path = typer.Option(
        None,
        help="Go on with this unfinished result file, or the newest one in this folder.",
        readable=False,  # said by who reads it, in one line
    ),
    max_batch: bool = typer.Option(
        False, "--max-batch", help="Only look for the largest micro-batch that fits the budget."
    ),
    max_depth: bool = typer.Option(
        False, "--max-depth", help="Only look for the largest depth of flat-D-W that fits."
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Print the plan with a forecast; measure and write nothing."
    ),
) -> None:
    """Measure workloads under one recipe and print the table.

    Writes one result file, complete after every trial. What is not given comes from the preset.
    """
    from ffprof.experiments.audit.plan import prepare
    from ffprof.experiments.audit.resume import resumed
    from ffprof.experiments.options import Options

    changes = {
        "backbone": backbone,
        "width": width,
        "norm": norm,
        "image_size": image_size,
        "batch": batch,
        "micro_batch": micro_batch,
        "precision": precision,
        "memory_format": memory_format,
        "data_workers": data_workers,
        "seed": seed,
        "threads": threads,
        "steps": steps,
    }
    written = written_options(context)
    if looks:
        rounds = first_look(written)
    options = Options(
        preset=preset,
        workloads=workloads,
        workload_files=tuple(workload_file),
        device=device.value,
        gpu_mem=gpu_mem,
        card=card,
        rounds=rounds,
        changes=changes,
        data=data,
        download=download,
        time_limit=time_limit,
        run_limit=run_limit,
        out=out,
        dry_run=dry_run,
        on_foreign=on_foreign.value,
        card_files=tuple(card_file),
        display=display,
    )
    end_when_asked()
    if max_batch or max_depth:
        raise typer.Exit(print_largest(options, written))
    started = time.monotonic()
    opened = (
        prepare(options) if resume is None else resumed(resume, _given(written), dry_run=dry_run)
    )
    with opened as requests:
        if dry_run and any(request.record.missing() for request in requests):
            from ffprof.cli.dry_run import print_plans

            print_plans(requests, time.monotonic() - started, looks=looks)
            return
        code = run_all(requests, looks=looks)
    raise typer.Exit(code)


def _given(written: dict[str, Any]) -> dict[str, Any]:
    """The options that were written on the command line, by the name of their parameter."""
    return {name: written[name] for name in written if name not in ("resume", "dry_run")}


def print_largest(options: Options, written: Mapping[str, Any]) -> int:
    """Search, print, and write a result file; returns the exit code.

    Args:
        options: what was asked for.
        written: the options on the command line, by the name of their parameter.

    Raises:
        FfprofError: something cannot be meant, or nothing could be found out.
    """
    grown = _asked(options, written)
    with _prepared(options, grown) as request:
        outcome = find_capacities(request, progress_for(Console(stderr=True)))
    record, interrupt = outcome.record, outcome.interrupt
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    if record.capacities:
        print_document(capacity_document(record), console := OutputConsole())
        console.print()
        notices.print(f"written to {request.path}", markup=False)
    if outcome.stopped:
        left = len(request.workloads) - len(record.capacities)
        kept = "" if record.capacities else "; nothing was found or written"
        notices.print(f"stopped early: {outcome.stopped}; workloads left: {left}{kept}")
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not any(_says_something(one) for one in record.capacities):
        raise NothingMeasuredError(
            "no size of any workload could be tried",
            "read why above" if record.capacities else "raise --run-limit",
        )
    return 0


def _says_something(one: Capacity) -> bool:
    return any(tried.outcome in ("ok", "oom") for tried in one.tried)


def run_all(requests: tuple[Request, ...], *, looks: bool = False) -> int:
    """One after the other; what ends one of them early ends them all.

    With ``looks``, an audit goes on to the next look while a claim on throughput is undecided.

    Raises:
        NothingMeasuredError: none of them has a number.
    """
    empty: list[NothingMeasuredError] = []
    for number, request in enumerate(requests):
        if number:
            print()
        try:
            code = _run_and_print(request, looks=looks)
        except NothingMeasuredError as error:
            empty.append(error)
            continue
        if code:
            return code
    if len(empty) == len(requests):
        raise empty[0]
    return 0


def _run_and_print(request: Request, *, looks: bool) -> int:
    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    if not request.record.missing():
        print_report(request.record, OutputConsole())
        notices.print(f"nothing is missing in {request.path}", markup=False)
        return 0
    outcome = _run(request, looks=looks)
    record, interrupt = outcome.record, outcome.interrupt
    problem = ""
    if request.device == "cuda" and request.target is None:
        problem = _remember(record, request.record)
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    if problem:
        notices.print(problem, markup=False)
    written = record.trials or record.ledger  # what is known of rows is kept, too
    if record.trials:
        console = OutputConsole()
        print_report(record, console)
        console.print()
        notices.print(f"written to {request.path}", markup=False)
    if looks and request.target is None and record.trials and not outcome.stopped:
        notices.print(_why_no_more(record), markup=False)
    if outcome.stopped:
        kept = "" if written else "; nothing was measured or written"
        notices.print(
            f"stopped early: {outcome.stopped}; missing trials: {len(record.missing())}{kept}"
        )
        if written:
            path = shlex.quote(str(request.path))
            notices.print(f"go on with: ffprof run --resume {path}", markup=False)
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not any(trial.outcome == "ok" for trial in record.trials):
        raise NothingMeasuredError("no trial gave a number", "read the problems listed above")
    return 0


def _run(request: Request, *, looks: bool) -> Outcome[Record]:
    """The audit, and with ``looks`` its further rounds."""
    outcome = run_audit(request, progress_for(Console(stderr=True)))
    while looks and not outcome.stopped and undecided(outcome.record):
        rounds = outcome.record.plan.rounds
        further = next_look(rounds)
        if further is None:
            break
        note = f"a claim on throughput was undecided after {rounds} rounds, so {further} were taken"
        record = outcome.record.model_copy(
            update={
                "plan": outcome.record.plan.model_copy(update={"rounds": further}),
                "verdicts": (),
                "notes": (*outcome.record.notes, note),
            }
        )
        outcome = run_audit(replace(request, record=record), progress_for(Console(stderr=True)))
    return outcome


def _why_no_more(record: Record) -> str:
    """Why looks ended with the rounds of a record."""
    judged = [v for v in record.verdicts if v.metric == "throughput"]
    rounds = f"stopped after {record.plan.rounds} rounds"
    if not judged:
        return f"{rounds}: no claim on throughput here"
    if undecided(record):
        return f"{rounds}, the last look: a claim on throughput is undecided"
    if all(v.supported is not None for v in judged):
        return f"{rounds}: every claim on throughput is decided"
    return f"{rounds}: further rounds would decide no claim on throughput"


def _remember(record: Record, before: Record) -> str:
    """Let later estimates know what this GPU takes beside the allocator; returns a note.

    Trials that a resumed audit had already were remembered when they ran.
    """
    known = {trial.id for trial in before.trials}
    new = tuple(trial for trial in record.trials if trial.id not in known)
    return remember(record.model_copy(update={"trials": new}))
