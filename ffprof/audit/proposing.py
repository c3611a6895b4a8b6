"""What an estimate proposes: the largest size by estimates alone, and what it says of one size."""

from __future__ import annotations

from multiprocessing.connection import Connection

from ffprof.estimator.sizes import Question, sized
from ffprof.estimator.target import Target
from ffprof.estimator.worker import bordered
from ffprof.harness.process.failures import telling
from ffprof.records.estimate import PeakRow
from ffprof.records.frontier import Capacity, Tried
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import FileDescription, addressed


def propose_child(
    sender: Connection,
    workload: str | FileDescription,
    recipe: Recipe,
    target: Target,
    question: Question,
) -> None:
    """Send the ``Capacity`` of a workload by estimates alone."""
    with telling(sender, workload):
        sender.send(proposed(addressed(workload), recipe, target, question))


def guess_child(
    sender: Connection,
    workload: str | FileDescription,
    recipe: Recipe,
    target: Target,
    question: Question,
    size: int,
) -> None:
    """Send what an estimate says of the ``size``-th size, a ``Tried``."""
    from ffprof.estimator.peaks import answer

    with telling(sender, workload):
        description = addressed(workload)
        make, unit, _, _ = sized(question, description, recipe)
        sender.send(guessed(size * unit, answer(description, make(size), target)))


def proposed(
    description: Description, recipe: Recipe, target: Target, question: Question
) -> Capacity:
    """The largest size that is estimated to fit; the next is not.

    A step that cannot be traced is refused at every size, so nothing is proposed.
    """
    found = bordered(description, recipe, target, question)
    n, unit, rows = found.border, found.unit, found.rows
    told = f"{n * unit:,} fits, and larger ones were not tried" if n == found.cap else ""
    unknown = n == 0 and all(row.memory is None for row in rows.values())
    if unknown:
        told = next(row.message for row in rows.values())
    return Capacity(
        workload=description.id,
        method=description.method,
        family=description.family,
        grown=question,
        unit=unit,
        largest=n * unit,
        first_failing=None if unknown or n == found.cap else (n + 1) * unit,
        batch=rows[n].batch if n else None,
        proven=False,
        proposed=None if unknown else n * unit,
        tried=tuple(guessed(number * unit, row) for number, row in rows.items()),
        message=told,
    )


def guessed(size: int, row: PeakRow) -> Tried:
    """A row of an estimate as a size that was tried."""
    return Tried(
        size=size,
        outcome=row.outcome,
        evidence="estimated",
        reserved_bytes=row.memory.reserved_peak_bytes if row.memory else None,
        process_range_bytes=row.memory.process_range_bytes if row.memory else None,
        fit=row.fit.answer if row.fit else None,
        message=row.message,
    )
