"""``ffprof run``: the audit. Parses, checks everything that can be checked, runs, prints."""

from __future__ import annotations

import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

if TYPE_CHECKING:
    from ffprof.audit.runner import Request


class _Device(StrEnum):
    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


class Terminated(KeyboardInterrupt):
    """Somebody asked the process to end; handled like Ctrl-C."""


def run(
    preset: str = typer.Option(None, help="Recipe to start from; see ffprof workloads."),
    workloads: str = typer.Option("core", help="core, all, or ids separated by commas."),
    device: _Device = typer.Option(_Device.auto, help="Where to measure."),
    gpu_mem: str = typer.Option(
        None, help="Hold CUDA memory to a card sold with this size, such as 8GB (the default)."
    ),
    rounds: int = typer.Option(3, min=1, max=1000, help="Trials of each workload."),
    backbone: str = typer.Option(None, help="vgg8, vgg11, vgg16, flat-D-W."),
    width: float = typer.Option(None, help="Scales all channels."),
    norm: str = typer.Option(None, help="batch or group."),
    image_size: int = typer.Option(None, help="Pixels along each side."),
    batch: int = typer.Option(None, help="Effective batch: images an optimizer step."),
    micro_batch: int = typer.Option(None, help="Images at a time under accumulation."),
    precision: str = typer.Option(None, help="fp32, or bf16 autocast."),
    memory_format: str = typer.Option(None, help="contiguous or channels_last."),
    data: str = typer.Option(None, help="digits (real, embedded) or synthetic."),
    seed: int = typer.Option(None, help="Weights, batches and order of trials."),
    threads: int = typer.Option(None, help="CPU threads of a trial."),
    steps: int = typer.Option(None, help="Timed optimizer steps of a trial."),
    time_limit: float = typer.Option(600.0, min=0.1, help="Seconds a trial may take."),
    run_limit: float = typer.Option(None, min=0.1, help="Seconds the whole run may take."),
    out: Path = typer.Option(Path("audits"), help="Folder for the result file."),
) -> None:
    """Measure workloads under one recipe and print the table.

    Writes one result file, complete after every trial.
    """
    from ffprof.cli.choose import choose_workloads
    from ffprof.cli.prepare import Options, prepare

    changes = {
        "backbone": backbone,
        "width": width,
        "norm": norm,
        "image_size": image_size,
        "batch": batch,
        "micro_batch": micro_batch,
        "precision": precision,
        "memory_format": memory_format,
        "data": data,
        "seed": seed,
        "threads": threads,
        "steps": steps,
    }
    options = Options(
        preset=preset,
        workloads=choose_workloads(workloads),
        device=device.value,
        gpu_mem=gpu_mem,
        rounds=rounds,
        changes=changes,
        time_limit=time_limit,
        run_limit=run_limit,
        out=out,
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    with prepare(options) as request:
        code = _run_and_print(request)
    raise typer.Exit(code)


def _run_and_print(request: Request) -> int:
    from rich.console import Console

    from ffprof.audit.runner import run_audit
    from ffprof.cli.progress import progress_for
    from ffprof.errors import NothingMeasuredError
    from ffprof.report.terminal import print_report

    outcome = run_audit(request, progress_for(Console(stderr=True)))
    console = Console(highlight=False)
    print_report(outcome.record, console)
    console.print()
    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    if outcome.record.trials:
        notices.print(f"written to {request.path}", markup=False)
    if outcome.stopped:
        count = len(outcome.record.missing())
        notices.print(f"stopped early: {outcome.stopped}; {count} trials are missing")
    if outcome.interrupt is not None:
        return 143 if isinstance(outcome.interrupt, Terminated) else 130
    if not any(trial.outcome == "ok" for trial in outcome.record.trials):
        raise NothingMeasuredError("no trial gave a number", "read the problems listed above")
    return 0


def _terminate(number: int, frame: object) -> Literal[None]:
    raise Terminated
