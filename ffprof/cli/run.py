"""``ffprof run``: the audit. Parses, checks everything that can be checked, runs, prints."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from ffprof.cli.budget_options import (
    CARD,
    CARD_FILE,
    DISPLAY,
    GPU_MEM,
    ON_FOREIGN,
    OnForeign,
)
from ffprof.cli.interrupts import end_when_asked
from ffprof.cli.recipe_options import (
    BACKBONE,
    BATCH,
    DATA,
    DATA_WORKERS,
    DOWNLOAD,
    IMAGE_SIZE,
    MEMORY_FORMAT,
    MICRO_BATCH,
    NORM,
    PRECISION,
    PRESET,
    SEED,
    STEPS,
    THREADS,
    TIME_LIMIT,
    WIDTH,
    WORKLOAD_FILE,
    WORKLOADS,
)
from ffprof.cli.written import first_look, written_options


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
    from ffprof.cli.running import run_all
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
        from ffprof.cli.capacity import print_largest

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
