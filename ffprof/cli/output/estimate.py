"""Estimates of memory in tables and as JSON: peaks, differences, largest sizes, growth."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from ffprof.cli.common_options import Format
from ffprof.cli.output.console import print_json
from ffprof.cli.output.progress import progress_for
from ffprof.cli.output.result import print_document
from ffprof.errors import NothingMeasuredError, UsageError
from ffprof.estimator.sizes import Question, flat_width, varied_by
from ffprof.experiments.estimate import EstimateSession
from ffprof.experiments.question import EstimateQuestion, Sweep
from ffprof.harness.process.streams import say
from ffprof.records.audit import are_own_steps, own_files
from ffprof.records.estimate import PeakRow
from ffprof.report.capacity import estimated_capacities
from ffprof.report.document import Block, Document, printable
from ffprof.report.estimate.advice import advice_document, code_text, line_of
from ffprof.report.estimate.detail import peak_details
from ffprof.report.estimate.difference import compare_peaks, difference_blocks
from ffprof.report.estimate.growth import growth_document
from ffprof.report.estimate.table import Heading, peak_document
from ffprof.report.exporters.terminal import OutputConsole
from ffprof.workload.models import ModelDescription


def tell(
    session: EstimateSession, asked: EstimateQuestion, swept: Sweep | None, format: Format
) -> None:
    """Answer the one question that was asked.

    Raises:
        NothingMeasuredError: no workload could be estimated.
        StoreError: a file cannot be written.
    """
    if swept is not None:
        print_growth(session, swept, asked.plot, format)
    elif asked.largest is not None:
        print_largest(session, asked.largest, format)
    elif asked.advise:
        print_advice(session, asked.show, format)
    elif asked.against is not None:
        print_against(session, format)
    else:
        print_peaks(session, asked.snapshot, format, detail=asked.detail)


def print_peaks(
    session: EstimateSession, snapshot_to: Path | None, format: Format, *, detail: bool
) -> None:
    """The table of all workloads, and what is held at the peak.

    Raises:
        StoreError: the snapshot cannot be written.
        NothingMeasuredError: no workload could be estimated.
    """
    rows = session.peaks(progress_for(), snapshot_to)
    if format == "json":
        _print_json(rows)
    else:
        shown = [row for row in rows if row.peak is not None and (detail or len(rows) == 1)]
        details = [block for row in shown for block in peak_details(row, _width())]
        _print(peak_document(heading(session), rows), format, details)
    _some_figures(rows)
    if snapshot_to is not None and rows[0].memory is not None:
        say(f"written to {snapshot_to}; open it at https://pytorch.org/memory_viz")


def print_against(session: EstimateSession, format: Format) -> None:
    """Two workloads at their peaks, layer by layer.

    Raises:
        NothingMeasuredError: one of them could not be estimated.
    """
    ours, theirs = session.chosen.workloads[0], session.other
    assert theirs is not None
    both = replace(session, chosen=replace(session.chosen, workloads=(ours, theirs)))
    rows = both.peaks(progress_for())
    if any(row.peak is None for row in rows):
        _print(peak_document(heading(session), rows), format)
        raise NothingMeasuredError("one of them could not be estimated", "read why above")
    made = compare_peaks(rows[0], rows[1])
    if format == "json":
        _print_json(made)
        return
    blocks = difference_blocks(made, _width())
    _print(peak_document(heading(session), rows), format, blocks)


def print_largest(session: EstimateSession, question: Question, format: Format) -> None:
    """The largest size of every workload.

    Raises:
        NothingMeasuredError: no workload could be estimated.
    """
    found = session.largest(question, progress_for())
    if format == "json":
        _print_json(found)
    else:
        varied = varied_by(question, session.recipe) or {question.replace("-", "_"): "N"}
        _print(estimated_capacities(heading(session, varied), found), format)
    if not any(tried.reserved_bytes for one in found for tried in one.tried):
        told = next((f"{one.workload}: {one.message}" for one in found), "no workload")
        raise NothingMeasuredError(f"nothing could be estimated: {told}", "")


def print_advice(session: EstimateSession, show: str | None, format: Format) -> None:
    """What to change about steps of the user's own, or one change as code.

    Raises:
        UsageError: no change of that name was tried.
        NothingMeasuredError: a step could not be estimated.
    """
    found = session.advice(progress_for())
    if show is not None:
        lines = [line for one in found if (line := line_of(one, show))]
        if not lines:
            known = ", ".join(line.id for one in found for line in one.lines)
            raise UsageError(f"--show {show}: no such change was tried", f"name one of {known}")
        for line in lines:
            sys.stdout.write(code_text(line))
    elif format == "json":
        _print_json(found)
    else:
        top = heading(session.of_own_steps())
        document = advice_document(found, top.subject, top.lines(), _SHOW)
        _print(document, format)


_SHOW = "--show CHANGE instead of --advise"


def print_growth(session: EstimateSession, sweep: Sweep, plot: Path | None, format: Format) -> None:
    """How every workload grows.

    Raises:
        NothingMeasuredError: no workload could be estimated.
        StoreError: the plot cannot be written.
    """
    found = session.growth(sweep, progress_for())
    if format == "json":
        _print_json(found)
    else:
        varied = heading(session, _varied(session, sweep))
        _print(growth_document(varied, found, _width()), format)
    _some_figures([row for one in found for row in one.rows])
    if plot is not None:
        from ffprof.report.exporters.plots import draw

        draw(found, plot)
        say(f"written to {plot}")


def heading(session: EstimateSession, varied: Mapping[str, str] | None = None) -> Heading:
    """What stands above the tables; ``varied`` is what of the recipe is not the same in all."""
    names = [one.id for one in session.chosen.workloads]
    first = session.chosen.workloads[0]
    model = first if isinstance(first, ModelDescription) else None
    return Heading(
        recipe=session.recipe,
        requested=session.budget.requested,
        card=session.budget.card,
        total_bytes=session.budget.total_bytes or 0,
        display_bytes=session.budget.display_bytes,
        overhead_bytes=(
            session.target.overhead.low_bytes,
            session.target.overhead.likely_bytes,
            session.target.overhead.high_bytes,
        ),
        overhead_measured=session.target.overhead.measured,
        workspaces=session.target.workspaces,
        torch=session.torch,
        notes=session.chosen.notes(session.recipe),
        varied=varied or {},
        files=own_files(names, session.chosen.files),
        steps=are_own_steps(names, session.chosen.files),
        model=model.id if model else "",
        step=model.heading(session.recipe, varied or {}) if model else "",
    )


def _varied(session: EstimateSession, sweep: Sweep) -> dict[str, str]:
    if sweep.axis == "depth":
        return {"backbone": f"flat-D-{flat_width(session.recipe.backbone)}"}
    return {"image-size": {"image_size": "S"}, "batch": {"batch": "B"}}.get(
        sweep.axis, {sweep.axis.replace("-", "_"): "N"}
    )


def _some_figures(rows: Sequence[PeakRow]) -> None:
    if not any(row.memory for row in rows):
        told = next((f"{row.workload}: {row.message}" for row in rows), "no workload")
        raise NothingMeasuredError(f"nothing could be estimated: {told}", "")


def _print_json(found: Sequence[BaseModel] | BaseModel) -> None:
    if isinstance(found, BaseModel):
        print_json(found.model_dump_json(indent=1))
    else:
        print_json([one.model_dump(mode="json") for one in found])


def _print(document: Document, format: Format, more: Sequence[Block] = ()) -> None:
    blocks = (*document.blocks, *more)
    print_document(printable(replace(document, blocks=blocks)), format)


def _width() -> int:
    return OutputConsole().width
