"""``ffprof estimate``: peak CUDA memory of workloads without running them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ffprof.cli.budget_options import CARD, CARD_FILE, DISPLAY, GPU_MEM
from ffprof.cli.recipe_options import (
    BACKBONE,
    BATCH,
    IMAGE_SIZE,
    MEMORY_FORMAT,
    MICRO_BATCH,
    NORM,
    PRECISION,
    WIDTH,
    WORKLOAD_FILE,
    WORKLOADS,
)

if TYPE_CHECKING:
    from ffprof.experiments.estimate import Ready


class _Format(StrEnum):
    table = "table"
    json = "json"


class _Largest(StrEnum):
    micro_batch = "micro-batch"
    batch = "batch"
    depth = "depth"


def estimate(
    preset: str = typer.Option(None, help="Recipe to start from; by default that of GPUs."),
    workloads: str = WORKLOADS,
    workload_file: list[Path] = WORKLOAD_FILE,
    gpu_mem: str = GPU_MEM,
    card: str = CARD,
    card_file: list[Path] = CARD_FILE,
    display: bool = DISPLAY,
    backbone: str = BACKBONE,
    width: float = WIDTH,
    norm: str = NORM,
    image_size: int = IMAGE_SIZE,
    batch: int = BATCH,
    micro_batch: int = MICRO_BATCH,
    precision: str = PRECISION,
    memory_format: str = MEMORY_FORMAT,
    allocator: str = typer.Option(
        None, help="default, expandable_segments, or what PYTORCH_ALLOC_CONF takes."
    ),
    no_workspaces: bool = typer.Option(
        False, "--no-workspaces", help="Leave out the workspaces of cuBLAS and cuDNN."
    ),
    detail: bool = typer.Option(
        False, "--detail", help="What is held at the peak; shown of a single workload anyway."
    ),
    against: str = typer.Option(
        None, help="Another workload: what the one holds that the other does not, by layer."
    ),
    largest: _Largest = typer.Option(
        None, help="The largest size that fits the budget; depth is that of flat-D-W."
    ),
    sweep: str = typer.Option(
        None, help="How memory grows: batch=8,16,32, depth=4,8,16 or image-size=64,128,224."
    ),
    plot: Path = typer.Option(None, help="Draw the sweep: a .png, .svg or .pdf file."),
    snapshot: Path = typer.Option(
        None, help="Write one workload's allocations for pytorch.org/memory_viz."
    ),
    format: _Format = typer.Option(_Format.table, "--format", "-f", help="How to print it."),
) -> None:
    """Say what workloads would take of a GPU, and why.

    Nothing is run, and no GPU is needed.

    Nothing is run, and no result file is written. What is not given comes from the preset.
    """
    from ffprof.experiments.estimate import Asked, Wanted, check_asked, ready

    changes = {
        "backbone": backbone,
        "width": width,
        "norm": norm,
        "image_size": image_size,
        "batch": batch,
        "micro_batch": micro_batch,
        "precision": precision,
        "memory_format": memory_format,
    }
    asked = Asked(
        changes=changes,
        detail=detail,
        against=against,
        largest=None if largest is None else largest.value,
        sweep=sweep,
        plot=plot,
        snapshot=snapshot,
    )
    wanted = Wanted(
        preset=preset,
        workloads=workloads,
        workload_files=tuple(workload_file),
        gpu_mem=gpu_mem,
        card=card,
        changes=changes,
        allocator=allocator,
        workspaces=not no_workspaces,
        single="--against" if against is not None else "--snapshot" if snapshot else "",
        against=against,
        deep=largest is _Largest.depth,
        card_files=tuple(card_file),
        display=display,
    )
    swept = check_asked(asked)
    if plot is not None:
        from ffprof.report.exporters.plots import check_matplotlib

        check_matplotlib()
    with ready(wanted) as prepared:
        if swept is not None:
            from ffprof.cli.answers import tell_growth

            tell_growth(prepared, swept, plot, as_json=format is _Format.json)
        else:
            _tell(prepared, asked, as_json=format is _Format.json)


def _tell(prepared: Ready, asked: Any, *, as_json: bool) -> None:
    from ffprof.cli import answers

    if asked.largest is not None:
        answers.tell_largest(prepared, asked.largest, as_json=as_json)
    elif asked.against is not None:
        answers.tell_against(prepared, as_json=as_json)
    else:
        answers.tell_peaks(prepared, asked.snapshot, detail=asked.detail, as_json=as_json)
