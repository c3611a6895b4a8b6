"""What children answer about estimates; torch is imported inside of them only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from ffprof.errors import DataError, RefusedError, StoreError, UsageError
from ffprof.estimator.sizes import Question, RefusedSizeError, accepted_border, sized
from ffprof.estimator.target import Target, bare_row
from ffprof.harness.process.failures import telling, told_of
from ffprof.harness.process.messages import Failed
from ffprof.records.estimate import PeakRow
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.step import StepDescription
from ffprof.workload.user_file import address, addressed

Piece = tuple["str | Description", Recipe]
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


def estimate_child(
    sender: Connection, pieces: Sequence[Piece], target: Target, snapshot_to: Path | None = None
) -> None:
    """Estimate each workload under its own recipe and send an ``Estimated`` for each.

    With ``snapshot_to``, the allocations of the one workload are written there.
    """
    from ffprof.estimator.peaks import estimate_workload

    for workload, recipe in pieces:
        with telling(sender, workload):
            try:
                sender.send(estimate_workload(addressed(workload), recipe, target, snapshot_to))
            except StoreError as error:
                sender.send(error)


def border_child(
    sender: Connection,
    workload: str | Description,
    recipe: Recipe,
    target: Target,
    question: Question,
) -> None:
    """Send the ``Border`` of a workload."""
    with telling(sender, workload):
        sender.send(find_border(addressed(workload), recipe, target, question))


def advise_child(sender: Connection, workload: Description, recipe: Recipe, target: Target) -> None:
    """Send the ``Advice`` on a step of the user's own, or why there is none."""
    from ffprof.estimator.advice.step import advise_step

    with telling(sender, workload):
        description = addressed(workload)
        assert isinstance(description, StepDescription)
        try:
            sender.send(advise_step(description, recipe, target))
        except UsageError as error:
            sender.send(Failed(outcome="refused", message=str(error)[:500]))


@dataclass(frozen=True, kw_only=True)
class Border:
    """The largest n that is estimated to fit, with every n that was traced, in order.

    ``cap`` is the largest n that would have been; n + 1 was traced, too, unless it is beyond that.
    """

    n: int
    cap: int
    unit: int
    rows: dict[int, PeakRow]


def find_border(
    description: Description, recipe: Recipe, target: Target, question: Question
) -> Border:
    """Look for the border; a size that is refused does not fit."""
    from ffprof.estimator.peaks import estimate_workload

    make, unit, start, cap = sized(question, description, recipe)
    first = min(max(start, 1), cap)  # that is asked; where it fails, all do

    def row(n: int) -> tuple[PeakRow, float | None]:
        one, resized = make(n)
        try:
            found = estimate_workload(one, resized, target, with_load=True)
        except _FAILURES as error:
            if n == first or isinstance(address(one), str):
                raise
            told = told_of(error, one)[:300]  # it takes other sizes, and not this one
            return bare_row(one, resized, target, "refused", told), None
        return found.row, found.load

    return border_of(row, start=start, cap=cap, unit=unit)


def border_of(
    ask: Callable[[int], tuple[PeakRow, float | None]], *, start: int, cap: int, unit: int = 1
) -> Border:
    """Look for the border; ``ask`` gives the row of the n-th size, and what it needs.

    A row without figures is a size that is refused, unless no size has any.
    """
    rows: dict[int, PeakRow] = {}
    loads: dict[int, float | None] = {}

    def row(n: int) -> PeakRow:
        if n not in rows:
            rows[n], loads[n] = ask(n)
        return rows[n]

    def accepted() -> list[int]:
        return [n for n, one in rows.items() if one.memory]

    def fits(n: int) -> bool:
        found = row(n)
        if found.memory is None and accepted():
            raise RefusedSizeError(n)
        return found.fit is not None and found.fit.answer == "fits"

    n, step = accepted_border(fits, start=start, cap=cap, load=loads.get, accepted=accepted)
    largest = cap // step
    if n < largest:
        row((n + 1) * step)
    kept = {n // step: one for n, one in rows.items() if n % step == 0}
    return Border(n=n, cap=largest, unit=unit * step, rows=kept)


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


def _reason(error: Exception, workload: str | Description) -> str:
    if not isinstance(workload, str):
        return told_of(error, workload)[:300]
    line = (str(error).strip().splitlines() or [""])[0].strip()
    return f"{type(error).__name__}: {line}"[:300]
