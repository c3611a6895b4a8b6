"""``ffprof estimate``: peak CUDA memory of workloads without running them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import BaseModel
from rich.console import RenderableType

from ffprof.cli.common_options import (
    BACKBONE,
    BATCH,
    CARD,
    CARD_FILE,
    DISPLAY,
    GPU_MEM,
    IMAGE_SIZE,
    MEMORY_FORMAT,
    MICRO_BATCH,
    NORM,
    PRECISION,
    WIDTH,
    WORKLOAD_FILE,
    WORKLOADS,
)
from ffprof.errors import NothingMeasuredError
from ffprof.estimator.sizes import Question, flat_width, varied_by
from ffprof.experiments.estimate import Ready, Sweep
from ffprof.experiments.session import say
from ffprof.records.estimate import PeakRow
from ffprof.report.capacity import estimated_capacities
from ffprof.report.estimate.detail import peak_details
from ffprof.report.estimate.difference import compare_peaks, difference_report
from ffprof.report.estimate.growth import growth_report
from ffprof.report.estimate.table import Heading, peak_table
from ffprof.report.exporters.terminal import OutputConsole, render

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
            tell_growth(prepared, swept, plot, as_json=format is _Format.json)
        else:
            _tell(prepared, asked, as_json=format is _Format.json)


def _tell(prepared: Ready, asked: Any, *, as_json: bool) -> None:

    if asked.largest is not None:
        tell_largest(prepared, asked.largest, as_json=as_json)
    elif asked.against is not None:
        tell_against(prepared, as_json=as_json)
    else:
        tell_peaks(prepared, asked.snapshot, detail=asked.detail, as_json=as_json)


def tell_peaks(prepared: Ready, snapshot_to: Path | None, *, detail: bool, as_json: bool) -> None:
    """The table of all workloads, and what is held at the peak.

    Raises:
        StoreError: the snapshot cannot be written.
        NothingMeasuredError: no workload could be estimated.
    """
    rows = prepared.peaks(snapshot_to)
    if as_json:
        _print_json(rows)
    else:
        _print(peak_table(heading(prepared), rows, _width()))
        for row in rows if detail or len(rows) == 1 else ():
            if row.peak is not None:
                _print(peak_details(row, _width()))
    _some_figures(rows)
    if snapshot_to is not None and rows[0].memory is not None:
        say(f"written to {snapshot_to}; open it at https://pytorch.org/memory_viz")


def tell_against(prepared: Ready, *, as_json: bool) -> None:
    """Two workloads at their peaks, layer by layer.

    Raises:
        NothingMeasuredError: one of them could not be estimated.
    """
    ours, theirs = prepared.chosen.workloads[0], prepared.other
    assert theirs is not None
    both = replace(prepared, chosen=replace(prepared.chosen, workloads=(ours, theirs)))
    rows = both.peaks()
    if any(row.peak is None for row in rows):
        _print(peak_table(heading(prepared), rows, _width()))
        raise NothingMeasuredError("one of them could not be estimated", "read why above")
    made = compare_peaks(rows[0], rows[1])
    if as_json:
        _print_json(made)
        return
    _print(peak_table(heading(prepared), rows, _width()))
    _print(difference_report(made, _width()))


def tell_largest(prepared: Ready, question: Question, *, as_json: bool) -> None:
    """The largest size of every workload.

    Raises:
        NothingMeasuredError: no workload could be estimated.
    """
    found = prepared.largest(question)
    if as_json:
        _print_json(found)
    else:
        varied = varied_by(question, prepared.recipe)
        _print(render(estimated_capacities(heading(prepared, varied), found), _width()))
    if not any(tried.reserved_bytes for one in found for tried in one.tried):
        told = next((f"{one.workload}: {one.message}" for one in found), "no workload")
        raise NothingMeasuredError(f"nothing could be estimated: {told}", "")


def tell_growth(prepared: Ready, sweep: Sweep, plot: Path | None, *, as_json: bool) -> None:
    """How every workload grows.

    Raises:
        NothingMeasuredError: no workload could be estimated.
        StoreError: the plot cannot be written.
    """
    found = prepared.growth(sweep)
    if as_json:
        _print_json(found)
    else:
        _print(growth_report(heading(prepared, _varied(prepared, sweep)), found, _width()))
    _some_figures([row for one in found for row in one.rows])
    if plot is not None:
        from ffprof.report.exporters.plots import draw

        draw(found, plot)
        say(f"written to {plot}")


def heading(prepared: Ready, varied: Mapping[str, str] | None = None) -> Heading:
    """What stands above the tables; ``varied`` is what of the recipe is not the same in all."""
    return Heading(
        recipe=prepared.recipe,
        requested=prepared.budget.requested,
        card=prepared.budget.card,
        total_bytes=prepared.budget.total_bytes or 0,
        display_bytes=prepared.budget.display_bytes,
        overhead_bytes=(
            prepared.target.overhead.low_bytes,
            prepared.target.overhead.likely_bytes,
            prepared.target.overhead.high_bytes,
        ),
        overhead_measured=prepared.target.overhead.measured,
        workspaces=prepared.target.workspaces,
        torch=prepared.torch,
        notes=prepared.chosen.notes(prepared.recipe),
        varied=varied or {},
    )


def _varied(prepared: Ready, sweep: Sweep) -> dict[str, str]:
    if sweep.axis == "depth":
        return {"backbone": f"flat-D-{flat_width(prepared.recipe.backbone)}"}
    return {"image_size": "S"} if sweep.axis == "image-size" else {"batch": "B"}


def _some_figures(rows: Sequence[PeakRow]) -> None:
    if not any(row.memory for row in rows):
        told = next((f"{row.workload}: {row.message}" for row in rows), "no workload")
        raise NothingMeasuredError(f"nothing could be estimated: {told}", "")


def _print_json(found: Sequence[BaseModel] | BaseModel) -> None:
    if isinstance(found, BaseModel):
        print(found.model_dump_json(indent=1))
    else:
        listed = [one.model_dump(mode="json") for one in found]
        print(json.dumps(listed, indent=1, allow_nan=False))


def _print(part: RenderableType) -> None:
    OutputConsole().print(part, crop=False)


def _width() -> int:
    return OutputConsole().width
