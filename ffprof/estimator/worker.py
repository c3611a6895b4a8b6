"""What children answer about estimates; torch is imported inside of them only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from ffprof.errors import DataError, RefusedError, StoreError, UsageError
from ffprof.estimator.sizes import Axis, Question, border, exponent, sized, swept
from ffprof.estimator.target import Target
from ffprof.harness.process.failures import located, telling
from ffprof.harness.process.messages import Failed
from ffprof.records.estimate import Growth, Largest, PeakRow
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import FileDescription, addressed

Piece = tuple["str | FileDescription", Recipe]
# What the code of a workload raises where fake tensors do not do; the rest crashes the child.
_FAILURES = (RuntimeError, AssertionError, AttributeError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class TracedStep:
    """One optimizer step on fake tensors: its live peak, its operators, and what it took here.

    ``build_seconds`` is what building the module took, ``inside_seconds`` all in this process.
    """

    live_peak_bytes: int
    operators: int
    build_seconds: float
    inside_seconds: float


def peak_child(
    sender: Connection,
    workloads: list[str | FileDescription],
    recipe: Recipe,
    target: Target,
    snapshot_to: Path | None,
) -> None:
    """Send the ``PeakRow`` of every workload; with ``snapshot_to``, write its snapshot there."""
    from ffprof.estimator.peaks import answer

    for workload in workloads:
        with telling(sender, workload):
            try:
                sender.send(answer(addressed(workload), recipe, target, snapshot_to))
            except StoreError as error:
                sender.send(error)


def largest_child(
    sender: Connection,
    workload: str | FileDescription,
    recipe: Recipe,
    target: Target,
    question: Question,
) -> None:
    """Send the ``Largest`` of a workload."""
    with telling(sender, workload):
        sender.send(largest(addressed(workload), recipe, target, question))


def sweep_child(
    sender: Connection,
    workload: str | FileDescription,
    recipe: Recipe,
    target: Target,
    axis: Axis,
    values: tuple[int, ...],
) -> None:
    """Send the ``Growth`` of a workload."""
    with telling(sender, workload):
        sender.send(growth(addressed(workload), recipe, target, axis, values))


def largest(
    description: Description, recipe: Recipe, target: Target, question: Question
) -> Largest:
    """The largest size that fits, and the next; a size that is refused does not fit."""
    found = bordered(description, recipe, target, question)
    n, unit = found.border, found.unit
    return Largest(
        workload=description.id,
        question=question,
        size=n * unit,
        unit=unit,
        row=found.rows.get(n),
        next=found.rows.get(n + 1),
        traces=len(found.rows),
    )


@dataclass(frozen=True, kw_only=True)
class Bordered:
    """The largest n that is estimated to fit, with every n that was traced, in order.

    ``cap`` is the largest n that would have been; n + 1 was traced, too, unless it is beyond that.
    """

    border: int
    cap: int
    unit: int
    rows: dict[int, PeakRow]


def bordered(
    description: Description, recipe: Recipe, target: Target, question: Question
) -> Bordered:
    """Look for the border; a size that is refused does not fit."""
    from ffprof.estimator.peaks import answer

    make, unit, start, cap = sized(question, description, recipe)
    rows: dict[int, PeakRow] = {}

    def row(n: int) -> PeakRow:
        if n not in rows:
            rows[n] = answer(description, make(n), target)
        return rows[n]

    def fits(n: int) -> bool:
        return (details := row(n).fit) is not None and details.answer == "fits"

    n = border(fits, start=start, cap=cap)
    if n < cap:
        row(n + 1)
    return Bordered(border=n, cap=cap, unit=unit, rows=rows)


def growth(
    description: Description,
    recipe: Recipe,
    target: Target,
    axis: Axis,
    values: tuple[int, ...],
) -> Growth:
    """A workload at every value of an axis."""
    from ffprof.estimator.peaks import answer

    rows = tuple(
        answer(description, swept(axis, value, description, recipe), target) for value in values
    )
    memory = [row.memory for row in rows]
    return Growth(
        workload=description.id,
        axis=axis,
        values=values,
        rows=rows,
        allocated_exponent=exponent(
            values, [m.allocated_peak_bytes if m else None for m in memory]
        ),
        reserved_exponent=exponent(values, [m.reserved_peak_bytes if m else None for m in memory]),
        activations_exponent=exponent(values, [row.activation_peak_bytes for row in rows]),
    )


def estimate_child(
    sender: Connection,
    workloads: list[str | FileDescription],
    recipe: Recipe,
    target: Target,
) -> None:
    """Estimate workloads for a card and send ``Finished`` or ``Failed`` for each."""
    from ffprof.estimator.trial import estimate_trial

    for workload in workloads:
        with telling(sender, workload):
            try:
                sender.send(estimate_trial(addressed(workload), recipe, target))
            except (RefusedError, UsageError) as error:
                sender.send(Failed(outcome="refused", message=str(error)))
            except DataError as error:
                sender.send(Failed(outcome="crashed", message=str(error)))


def trace_child(sender: Connection, pieces: Sequence[Piece], device: str) -> None:
    """Trace each workload under its own recipe, and send ``TracedStep`` or ``Failed`` for each."""
    for workload, recipe in pieces:
        with telling(sender, workload):
            try:
                sender.send(_trace(addressed(workload), recipe, device))
            except RefusedError as error:
                message = f"its trials will be refused: {error}"
                sender.send(Failed(outcome="refused", message=message))
            except UsageError as error:
                sender.send(Failed(outcome="refused", message=error.problem[:300]))
            except DataError as error:
                sender.send(Failed(outcome="crashed", message=str(error)))
            except _FAILURES as error:
                sender.send(Failed(outcome="refused", message=_reason(error, workload)))


def _trace(workload: Description, recipe: Recipe, device: str) -> TracedStep:
    began = time.perf_counter()
    from ffprof.estimator.tracing.kernels import CUDA, PROCESSOR
    from ffprof.estimator.workload import trace_workload

    traced = trace_workload(workload, recipe, CUDA if device == "cuda" else PROCESSOR)
    return TracedStep(
        live_peak_bytes=traced.live_peak_bytes,
        operators=sum(traced.operators().values()),
        build_seconds=traced.build_seconds,
        inside_seconds=time.perf_counter() - began,
    )


def _reason(error: Exception, workload: str | FileDescription) -> str:
    if isinstance(workload, FileDescription):
        return located(error, workload.source)[:300]
    line = (str(error).strip().splitlines() or [""])[0].strip()
    return f"{type(error).__name__}: {line}"[:300]
