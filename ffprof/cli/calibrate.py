"""``ffprof calibrate``: how noisy this machine is, and the smallest change that it lets one see."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from ffprof.cli.budget_options import ON_FOREIGN, OnForeign
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
)
from ffprof.cli.written import written_options


class _Device(StrEnum):
    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


def calibrate(
    context: typer.Context,
    preset: str = PRESET,
    workloads: str = typer.Option(
        None,
        help="core, all, or ids separated by commas; by default core, and all of --workload-file. "
        "With --from, ids of that audit.",
    ),
    workload_file: list[Path] = WORKLOAD_FILE,
    device: _Device = typer.Option(
        _Device.auto, help="Where to measure; auto is the GPU if there is one."
    ),
    rounds: int = typer.Option(
        10, max=1000, help="Trials of each workload, an even number; false alarms need 10 or more."
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
        None, min=0.1, help="Seconds the measuring may take; what is done by then is kept."
    ),
    out: Path = typer.Option(Path("audits"), help="Folder for the result files."),
    from_file: Path = typer.Option(
        None,
        "--from",
        help="Measure nothing: calibrate from the result file of an audit.",
        readable=False,
    ),
    show: bool = typer.Option(
        False, "--show", help="Measure nothing: print what is kept for this machine."
    ),
) -> None:
    """Measure the noise of this machine: which changes can be seen.

    An audit in which nothing changes: every other round is compared with those between. Writes the
    audit and the calibration, and keeps it for later runs on this machine.
    """
    from ffprof.cli.calibrating import check_options, from_audit, measure, show_kept
    from ffprof.experiments.options import Options

    check_options(written_options(context))
    end_when_asked()
    if show:
        raise typer.Exit(show_kept(device.value, preset))
    if from_file is not None:
        raise typer.Exit(from_audit(from_file, out, workloads))
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
        gpu_mem=None,
        card=None,
        rounds=rounds,
        changes=changes,
        data=data,
        download=download,
        time_limit=time_limit,
        run_limit=run_limit,
        out=out,
        on_foreign=on_foreign.value,
        estimates=False,
    )
    raise typer.Exit(measure(options))
