"""``ffprof frontier``: memory against throughput for every method, and the best of each."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ffprof.cli.common_options import (
    BUDGET,
    FORMAT,
    MEASURING,
    MODEL,
    Device,
    Format,
    takes,
    written_options,
)
from ffprof.cli.interrupts import Terminated, end_when_asked, interrupt_code
from ffprof.experiments.options import Options

if TYPE_CHECKING:
    from ffprof.cli.output.console import Notices
    from ffprof.experiments.frontier.request import FrontierRequest
    from ffprof.records.frontier import FrontierRecord


@takes("preset", "workloads", "workload_files", *MODEL, *BUDGET, *MEASURING)
def frontier(
    context: typer.Context,
    options: Options,
    micro_batches: str = typer.Option(
        None,
        help="Sizes such as 4,8,16 of workloads that accumulate; by default up to five divisors of "
        "the batch about the recipe's.",
    ),
    precisions: str = typer.Option(None, help="Some of fp32,bf16,fp16; the recipe's by default."),
    memory_formats: str = typer.Option(
        None, help="Some of contiguous,channels_last; the recipe's by default."
    ),
    device: Device = typer.Option(
        "auto",
        help="Device to measure on; estimate measures nothing, and so does auto without a GPU.",
    ),
    rounds: int = typer.Option(
        5, min=1, max=1000, help="Trials of the best point of each method, and of undecided points."
    ),
    all_points: bool = typer.Option(
        False, "--all-points", help="Measure every point in every round."
    ),
    resume: Path = typer.Option(
        None,
        help="Resume this unfinished frontier, or the newest one in this folder.",
        readable=False,  # said by who reads it, in one line
    ),
    plot: Path = typer.Option(None, help="Draw the frontiers: a .png, .svg or .pdf file."),
    format: Format = FORMAT,
) -> None:
    """Find each method's best throughput at every memory.

    Also the best under the budget. Estimates leave out what cannot matter, and trials decide.
    Writes one result file, complete after every trial.
    """
    from ffprof.experiments.frontier.plan import FrontierOptions, prepare_frontier

    written = written_options(context)
    written.pop("format", None)  # contradicts no record
    if plot is not None:
        from ffprof.experiments.question import check_file, check_plot
        from ffprof.report.exporters.plots import check_matplotlib

        check_matplotlib()
        check_plot(plot)
        check_file("--plot", plot)
    asked = FrontierOptions(
        micro_batches=micro_batches,
        precisions=precisions,
        memory_formats=memory_formats,
        every=all_points,
        rounds_given="rounds" in written,
    )
    end_when_asked()
    opened = prepare_frontier(replace(options, device=device, rounds=rounds), asked)
    if resume is not None:
        from ffprof.experiments.frontier.resume import resumed_frontier

        opened = resumed_frontier(resume, written)
    with opened as request:
        code = _run_and_print(request, plot, format)
    raise typer.Exit(code)


def _run_and_print(request: FrontierRequest, plot: Path | None, format: Format) -> int:
    from ffprof.cli.output.console import Notices
    from ffprof.cli.output.progress import progress_for
    from ffprof.cli.output.result import details_of, print_result
    from ffprof.errors import NothingMeasuredError
    from ffprof.experiments.frontier.runner import find_frontier

    notices = Notices()
    outcome = find_frontier(request, progress_for(notices))
    record, interrupt = outcome.record, outcome.interrupt
    if isinstance(interrupt, Terminated) and interrupt.hung_up:
        return interrupt_code(interrupt)
    figures = any(point.images_per_second or point.memory_bytes for point in record.points)
    kept = request.path.exists()
    if kept:
        print_result(record, format)
        notices.print(f"\nwritten to {request.path}")
        if not record.stopped and format == "table":
            notices.print(details_of(request.path))
    if record.stopped:
        told = "" if kept else "; nothing was measured or written"
        notices.print(f"stopped early: {record.stopped}{told}")
        if kept and any(point.trials for point in record.points):
            path = shlex.quote(str(request.path))
            notices.print(f"resume with: ffprof frontier --resume {path}")
    if plot is not None:
        _draw(record, plot, notices)
    if interrupt is not None:
        return interrupt_code(interrupt)
    if not figures or not any(point.on_frontier or _known(point) for point in record.points):
        first = next((p for p in record.points if p.because), None)
        told = f": {first.id}: {first.because}" if first else ""
        raise NothingMeasuredError(f"no point gave a number{told}", "read the table above")
    return 0


def _draw(record: FrontierRecord, plot: Path, notices: Notices) -> None:
    """The plot of what there is, also of a frontier that was stopped early."""
    from ffprof.report.exporters.plots import can_be_drawn, draw_frontier

    if not can_be_drawn(record):
        notices.print(f"{plot} was not written: there is nothing to draw")
        return
    draw_frontier(record, plot)
    notices.print(f"written to {plot}")


def _known(point: object) -> bool:
    """Whether an estimate says something of a point, even if it does not fit."""
    guess = getattr(point, "guess", None)
    return getattr(point, "standing", "") in ("estimated", "does not fit") and guess is not None
