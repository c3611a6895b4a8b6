"""``ffprof estimate``: peak CUDA memory of workloads without running them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from ffprof.cli.common_options import BUDGET, CUT, FORMAT, MODEL, Format, complete_presets, takes
from ffprof.experiments.options import Options


@takes("workloads", "workload_files", *MODEL, *CUT, *BUDGET)
def estimate(
    options: Options,
    preset: str = typer.Option(
        None,
        help="Recipe to start from; by default that of GPUs.",
        autocompletion=complete_presets,
    ),
    allocator: str = typer.Option(
        None, help="default, expandable_segments, or what PYTORCH_ALLOC_CONF takes."
    ),
    no_workspaces: bool = typer.Option(
        False, "--no-workspaces", help="Leave out the workspaces of cuBLAS and cuDNN."
    ),
    detail: bool = typer.Option(
        False,
        "--detail",
        help="Show what is allocated at the peak; always shown for a single workload.",
    ),
    against: str = typer.Option(
        None, help="Compare with another workload: the difference at the peak, by layer."
    ),
    largest: Literal["micro-batch", "batch", "depth"] = typer.Option(
        None, help="Find the largest size that fits the budget; depth is that of flat-D-W."
    ),
    sweep: str = typer.Option(
        None, help="Show how memory grows: batch=8,16,32, depth=4,8,16 or image-size=64,128,224."
    ),
    plot: Path = typer.Option(None, help="Draw the sweep: a .png, .svg or .pdf file."),
    snapshot: Path = typer.Option(
        None, help="Write one workload's allocations for pytorch.org/memory_viz."
    ),
    format: Format = FORMAT,
) -> None:
    """Estimate GPU memory.

    Nothing is run, no GPU is needed, and no result file is written. What is not given comes from
    the preset.
    """
    from ffprof.cli.output.estimate import tell
    from ffprof.experiments.estimate import (
        EstimateQuestion,
        EstimateRequest,
        check_question,
        estimate_session,
    )

    question = EstimateQuestion(
        changes=options.changes,
        detail=detail,
        against=against,
        largest=largest,
        sweep=sweep,
        plot=plot,
        snapshot=snapshot,
    )
    request = EstimateRequest(
        preset=preset,
        workloads=options.workloads,
        workload_files=options.workload_files,
        gpu_mem=options.gpu_mem,
        card=options.card,
        changes=options.changes,
        allocator=allocator,
        workspaces=not no_workspaces,
        single="--against" if against is not None else "--snapshot" if snapshot else "",
        against=against,
        deep=largest == "depth",
        card_files=options.card_files,
        display=options.display,
    )
    swept = check_question(question)
    if plot is not None:
        from ffprof.report.exporters.plots import check_matplotlib

        check_matplotlib()
    with estimate_session(request) as session:
        tell(session, question, swept, format)
