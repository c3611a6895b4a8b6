"""``ffprof calibrate``: how noisy this machine is, and the smallest change that it lets one see."""

from __future__ import annotations

import signal
from enum import StrEnum
from pathlib import Path

import typer

from ffprof.cli.budget_options import ON_FOREIGN, OnForeign
from ffprof.cli.interrupts import raise_terminated
from ffprof.cli.written import written_options


class _Device(StrEnum):
    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


def calibrate(
    context: typer.Context,
    preset: str = typer.Option(
        None, help="Recipe to start from; ffprof workloads lists them and their devices."
    ),
    workloads: str = typer.Option(
        None,
        help="core, all, or ids separated by commas; by default core, and all of --workload-file. "
        "With --from, ids of that audit.",
    ),
    workload_file: list[Path] = typer.Option(
        [],
        help="A Python file with methods of your own; may be given more than once.",
        readable=False,
    ),
    device: _Device = typer.Option(
        _Device.auto, help="Where to measure; auto is the GPU if there is one."
    ),
    rounds: int = typer.Option(
        10, max=1000, help="Trials of each workload, an even number; false alarms need 10 or more."
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
    on_foreign: OnForeign = ON_FOREIGN,
    time_limit: float = typer.Option(600.0, min=0.1, help="Seconds a trial may take."),
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
    from ffprof.cli.options import Options

    check_options(written_options(context))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, raise_terminated)
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
