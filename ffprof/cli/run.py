"""``ffprof run``: the audit. Parses, checks everything that can be checked, runs, prints."""

from __future__ import annotations

import shlex
import signal
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ffprof.cli.interrupts import Terminated, interrupt_code, raise_terminated

if TYPE_CHECKING:
    from ffprof.audit.request import Request
    from ffprof.record import Record


class _Device(StrEnum):
    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"
    estimate = "estimate"


def run(
    context: typer.Context,
    preset: str = typer.Option(
        None, help="Recipe to start from; ffprof workloads lists them and their devices."
    ),
    workloads: str = typer.Option(
        None,
        help="core, all, or ids separated by commas; by default core, and all of --workload-file.",
    ),
    workload_file: list[Path] = typer.Option(
        [], help="A Python file with methods of your own; may be given more than once."
    ),
    device: _Device = typer.Option(
        _Device.auto,
        help="Where to measure; estimate measures nothing. Without a GPU, auto estimates the "
        "recipe for the card, and measures preset small here.",
    ),
    gpu_mem: str = typer.Option(
        None,
        help="The budget: a card sold with this size; 8GB by default. A larger GPU is held to it.",
    ),
    card: str = typer.Option(None, help="The budget by a card's name; ffprof cards lists them."),
    rounds: int = typer.Option(
        3, min=1, max=1000, help="Trials of each workload; throughput gets verdicts from 5 on."
    ),
    backbone: str = typer.Option(
        None, help="vgg8, vgg11, vgg16, resnet18, resnet34, or flat-D-W: D blocks of W channels."
    ),
    width: float = typer.Option(None, help="Scales all channels."),
    norm: str = typer.Option(None, help="batch or group."),
    image_size: int = typer.Option(None, help="Pixels along each side."),
    batch: int = typer.Option(None, help="Effective batch: images an optimizer step."),
    micro_batch: int = typer.Option(None, help="Images at a time under accumulation."),
    precision: str = typer.Option(None, help="fp32, or autocast to bf16 or fp16."),
    memory_format: str = typer.Option(None, help="contiguous or channels_last."),
    data: str = typer.Option(
        None,
        help="digits (real, embedded), synthetic, cifar10:DIR, cifar100:DIR or imagefolder:DIR.",
    ),
    data_workers: int = typer.Option(
        None, help="Processes that load images from files; up to 4 by default."
    ),
    download: bool = typer.Option(False, "--download", help="Download CIFAR if it is not in DIR."),
    seed: int = typer.Option(None, help="Weights, batches and order of trials."),
    threads: int = typer.Option(None, help="CPU threads of a trial; all cores by default."),
    steps: int = typer.Option(None, help="Timed optimizer steps of a trial."),
    time_limit: float = typer.Option(600.0, min=0.1, help="Seconds a trial may take."),
    run_limit: float = typer.Option(
        None, min=0.1, help="Seconds the whole run may take; what is done by then is kept."
    ),
    out: Path = typer.Option(Path("audits"), help="Folder for the result file."),
    resume: Path = typer.Option(
        None, help="Go on with this unfinished result file, or the newest one in this folder."
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
    from ffprof.cli.options import Options
    from ffprof.cli.prepare import prepare
    from ffprof.cli.resume import resumed

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
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, raise_terminated)
    if max_batch or max_depth:
        from ffprof.cli.capacity import print_largest

        raise typer.Exit(print_largest(options, _written(context)))
    started = time.monotonic()
    opened = (
        prepare(options) if resume is None else resumed(resume, _given(context), dry_run=dry_run)
    )
    with opened as requests:
        if dry_run and any(request.record.missing() for request in requests):
            from ffprof.cli.dry_run import print_plans

            print_plans(requests, time.monotonic() - started)
            return
        code = _run_all(requests)
    raise typer.Exit(code)


def _run_all(requests: tuple[Request, ...]) -> int:
    """One after the other; what ends one of them early ends them all.

    Raises:
        NothingMeasuredError: none of them has a number.
    """
    from ffprof.errors import NothingMeasuredError

    empty: list[NothingMeasuredError] = []
    for number, request in enumerate(requests):
        if number:
            print()
        try:
            code = _run_and_print(request)
        except NothingMeasuredError as error:
            empty.append(error)
            continue
        if code:
            return code
    if len(empty) == len(requests):
        raise empty[0]
    return 0


def _given(context: typer.Context) -> dict[str, Any]:
    """The options that were written on the command line, by the name of their parameter."""
    written = _written(context)
    return {name: written[name] for name in written if name not in ("resume", "dry_run")}


def _written(context: typer.Context) -> dict[str, Any]:
    return {
        name: getattr(value, "value", value)
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }


def _run_and_print(request: Request) -> int:
    from rich.console import Console

    from ffprof.audit.runner import run_audit
    from ffprof.cli.progress import progress_for
    from ffprof.errors import NothingMeasuredError
    from ffprof.report.terminal import OutputConsole, print_report

    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    if not request.record.missing():
        print_report(request.record, OutputConsole())
        notices.print(f"nothing is missing in {request.path}", markup=False)
        return 0
    outcome = run_audit(request, progress_for(Console(stderr=True)))
    record, interrupt = outcome.record, outcome.interrupt
    problem = ""
    if request.device == "cuda" and request.target is None:
        problem = _remember(record, request.record)
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    if problem:
        notices.print(problem, markup=False)
    if record.trials:
        console = OutputConsole()
        print_report(record, console)
        console.print()
        notices.print(f"written to {request.path}", markup=False)
    if outcome.stopped:
        kept = "" if record.trials else "; nothing was measured or written"
        notices.print(
            f"stopped early: {outcome.stopped}; missing trials: {len(record.missing())}{kept}"
        )
        if record.trials:
            path = shlex.quote(str(request.path))
            notices.print(f"go on with: ffprof run --resume {path}", markup=False)
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not any(trial.outcome == "ok" for trial in record.trials):
        raise NothingMeasuredError("no trial gave a number", "read the problems listed above")
    return 0


def _remember(record: Record, before: Record) -> str:
    """Let later estimates know what this GPU takes beside the allocator; returns a note.

    Trials that a resumed audit had already were remembered when they ran.
    """
    from ffprof.estimator.learned import remember

    known = {trial.id for trial in before.trials}
    new = tuple(trial for trial in record.trials if trial.id not in known)
    return remember(record.model_copy(update={"trials": new}))
