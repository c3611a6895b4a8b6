"""``ffprof frontier``: memory against throughput for every method, and the best of each."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

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
    NORM,
    ON_FOREIGN,
    PRESET,
    SEED,
    STEPS,
    THREADS,
    TIME_LIMIT,
    WIDTH,
    WORKLOAD_FILE,
    WORKLOADS,
    OnForeign,
    written_options,
)
from ffprof.cli.interrupts import Terminated, end_when_asked, interrupt_code

if TYPE_CHECKING:
    from rich.console import Console

    from ffprof.experiments.frontier.request import FrontierRequest
    from ffprof.records.frontier import FrontierRecord


class _Device(StrEnum):
    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"
    estimate = "estimate"


def frontier(
    context: typer.Context,
    preset: str = PRESET,
    workloads: str = WORKLOADS,
    workload_file: list[Path] = WORKLOAD_FILE,
    micro_batches: str = typer.Option(
        None,
        help="Sizes such as 4,8,16 of workloads that accumulate; by default up to five divisors of "
        "the batch about the recipe's.",
    ),
    precisions: str = typer.Option(None, help="Some of fp32,bf16,fp16; the recipe's by default."),
    memory_formats: str = typer.Option(
        None, help="Some of contiguous,channels_last; the recipe's by default."
    ),
    device: _Device = typer.Option(
        _Device.auto,
        help="Where to measure; estimate measures nothing, and so does auto without a GPU.",
    ),
    gpu_mem: str = GPU_MEM,
    card: str = CARD,
    card_file: list[Path] = CARD_FILE,
    display: bool = DISPLAY,
    on_foreign: OnForeign = ON_FOREIGN,
    rounds: int = typer.Option(
        5, min=1, max=1000, help="Trials of the best of each method, and of points in doubt."
    ),
    all_points: bool = typer.Option(
        False, "--all-points", help="Measure every point in every round; leave nothing out."
    ),
    backbone: str = BACKBONE,
    width: float = WIDTH,
    norm: str = NORM,
    image_size: int = IMAGE_SIZE,
    batch: int = BATCH,
    data: str = DATA,
    data_workers: int = DATA_WORKERS,
    download: bool = DOWNLOAD,
    seed: int = SEED,
    threads: int = THREADS,
    steps: int = STEPS,
    time_limit: float = TIME_LIMIT,
    run_limit: float = typer.Option(
        None, min=0.1, help="Seconds the whole run may take; what is done by then is kept."
    ),
    out: Path = typer.Option(Path("audits"), help="Folder for the result file."),
    resume: Path = typer.Option(
        None,
        help="Go on with this unfinished frontier, or the newest one in this folder.",
        readable=False,  # said by who reads it, in one line
    ),
    plot: Path = typer.Option(None, help="Draw the frontiers: a .png, .svg or .pdf file."),
) -> None:
    """Find, for every method, the best throughput at every memory, and under the budget.

    Estimates leave out what cannot matter, and trials decide. Writes one result file, complete
    after every trial.
    """
    from ffprof.experiments.frontier.plan import Asked, prepare_frontier
    from ffprof.experiments.options import Options

    written = written_options(context)
    if plot is not None:
        from ffprof.experiments.estimate import check_file, check_plot
        from ffprof.report.exporters.plots import check_matplotlib

        check_matplotlib()
        check_plot(plot)
        check_file("--plot", plot)
    changes = {
        "backbone": backbone,
        "width": width,
        "norm": norm,
        "image_size": image_size,
        "batch": batch,
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
        on_foreign=on_foreign.value,
        card_files=tuple(card_file),
        display=display,
    )
    asked = Asked(
        micro_batches=micro_batches,
        precisions=precisions,
        memory_formats=memory_formats,
        every=all_points,
        rounds_given="rounds" in written,
    )
    end_when_asked()
    opened = prepare_frontier(options, asked)
    if resume is not None:
        from ffprof.experiments.frontier.resume import resumed_frontier

        opened = resumed_frontier(resume, written)
    with opened as request:
        code = _run_and_print(request, plot)
    raise typer.Exit(code)


def _run_and_print(request: FrontierRequest, plot: Path | None) -> int:
    from rich.console import Console

    from ffprof.cli.progress import progress_for
    from ffprof.errors import NothingMeasuredError
    from ffprof.experiments.frontier.runner import find_frontier
    from ffprof.report.exporters.terminal import OutputConsole
    from ffprof.report.frontier import print_frontier

    notices = Console(stderr=True, highlight=False, soft_wrap=True)
    outcome = find_frontier(request, progress_for(notices))
    record, interrupt = outcome.record, outcome.interrupt
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    figures = any(point.images_per_second or point.memory_bytes for point in record.points)
    kept = request.path.exists()
    if kept:
        print_frontier(record, OutputConsole())
        notices.print(f"\nwritten to {request.path}", markup=False)
    if record.stopped:
        told = "" if kept else "; nothing was measured or written"
        notices.print(f"stopped early: {record.stopped}{told}")
        if kept and any(point.trials for point in record.points):
            path = shlex.quote(str(request.path))
            notices.print(f"go on with: ffprof frontier --resume {path}", markup=False)
    if plot is not None:
        _draw(record, plot, notices)
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not figures or not any(point.on_frontier or _known(point) for point in record.points):
        first = next((p for p in record.points if p.because), None)
        told = f": {first.id}: {first.because}" if first else ""
        raise NothingMeasuredError(f"no point gave a number{told}", "read the table above")
    return 0


def _draw(record: FrontierRecord, plot: Path, notices: Console) -> None:
    """The plot of what there is, also of a frontier that was stopped early."""
    from ffprof.report.exporters.plots import can_be_drawn, draw_frontier

    if not can_be_drawn(record):
        notices.print(f"{plot} was not written: there is nothing to draw", markup=False)
        return
    draw_frontier(record, plot)
    notices.print(f"written to {plot}", markup=False)


def _known(point: object) -> bool:
    """Whether an estimate says something of a point, even if it does not fit."""
    guess = getattr(point, "guess", None)
    return getattr(point, "standing", "") in ("estimated", "does not fit") and guess is not None
