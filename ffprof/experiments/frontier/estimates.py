"""What estimates say of every point of a frontier: many recipes, few children.

For a GPU they come from the estimator. For a processor, memory is that of a step on fake tensors,
exact to the byte, and speed the step's work over rates that short kernels reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from ffprof.errors import one_line
from ffprof.estimator.host.work import Rates, Traced, Unforecast
from ffprof.estimator.target import Target
from ffprof.estimator.worker import estimate_child
from ffprof.experiments.audit.forecast import machine_rates, trace_child
from ffprof.experiments.request import Request
from ffprof.harness.process.calls import run_series
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Failed, Finished, Report
from ffprof.records.frontier import Guess
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import FileDescription, StepDescription, address

Piece = tuple["str | FileDescription", Recipe]
LIMIT_SECONDS = 300.0  # of one point


class EnoughError(Exception):
    """Raised by whoever is told of guesses to have no more of them."""


def estimate_pieces_child(sender: Connection, pieces: list[Piece], target: Target) -> None:
    """Estimate each workload under its own recipe; send ``Finished`` or ``Failed`` for each."""
    for workload, recipe in pieces:
        estimate_child(sender, [workload], recipe, target)


def trace_pieces_child(sender: Connection, pieces: list[Piece], device: str) -> None:
    """Trace each workload under its own recipe; send ``Traced`` or ``Unforecast`` for each."""
    for workload, recipe in pieces:
        trace_child(sender, workload, recipe, device)


def guess_all(
    request: Request,
    wanted: Sequence[tuple[Description, Recipe]],
    target: Target | None,
    told: Callable[[int], None] = lambda number: None,
) -> list[Guess | None]:
    """A guess for every pair, in their order; None for those that were not reached.

    Args:
        request: the recipe and machine that all pairs are of.
        wanted: workloads, each with the recipe of a point.
        target: the card that is estimated; None measures on a processor.
        told: called with the number of guesses so far; may raise ``EnoughError``.
    """
    endings: list[Ending | None] = [None] * len(wanted)
    with suppress(EnoughError):
        _ask(request, wanted, target, told, endings)
    if target is not None:
        return [None if ending is None else _estimated(ending) for ending in endings]
    return _forecast(request, wanted, endings)


def _ask(
    request: Request,
    wanted: Sequence[tuple[Description, Recipe]],
    target: Target | None,
    told: Callable[[int], None],
    endings: list[Ending | None],
) -> None:
    count = 0
    # Registered workloads share a child; those of a file have one each.
    numbers = range(len(wanted))
    shared = [n for n in numbers if not isinstance(wanted[n][0], FileDescription)]
    groups = [shared] if shared else []
    groups += [[n] for n in numbers if isinstance(wanted[n][0], FileDescription)]
    for group in groups:

        def answered(number: int, ending: Ending, group: list[int] = group) -> None:
            nonlocal count
            endings[group[number]] = ending
            count += 1
            told(count)

        pieces = [(address(wanted[n][0]), wanted[n][1]) for n in group]
        if target is not None:
            run_series(
                request.context, estimate_pieces_child, pieces, LIMIT_SECONDS, answered, (target,)
            )
            continue
        if isinstance(wanted[group[0]][0], StepDescription):
            answered(0, _own_step())
            continue
        run_series(
            request.context, trace_pieces_child, pieces, LIMIT_SECONDS, answered, (request.device,)
        )


def _own_step() -> Ending:
    reason = "what a user-defined step does is seen in its trials only"
    return Ending(kind="ended", messages=(Unforecast(reason=reason),))


def _estimated(ending: Ending) -> Guess:
    for message in ending.messages:
        if isinstance(message, Finished):
            return _of_report(message.report)
        if isinstance(message, Failed) and message.report is not None:
            guess = _of_report(message.report)
            return guess.model_copy(
                update={"outcome": message.outcome, "message": one_line(message.message)[:1000]}
            )
    return _none(ending)


def _of_report(report: Report) -> Guess:
    return Guess(
        outcome="ok",
        fit=report.memory.fit,
        memory_bytes=report.memory.allocated_peak_bytes,
        reserved_bytes=report.memory.reserved_peak_bytes,
        images_per_second=report.throughput.images_per_second if report.throughput else None,
    )


def _none(ending: Ending) -> Guess:
    for message in ending.messages:
        if isinstance(message, Failed):
            return Guess(outcome=message.outcome, message=one_line(message.message)[:1000])
        if isinstance(message, Unforecast):
            return Guess(outcome="refused", message=one_line(message.reason)[:1000])
    outcome = "timeout" if ending.kind == "timeout" else "crashed"
    return Guess.model_validate({"outcome": outcome, "message": one_line(ending.reason)[:1000]})


def _forecast(
    request: Request, wanted: Sequence[tuple[Description, Recipe]], endings: Sequence[Ending | None]
) -> list[Guess | None]:
    messages = [ending.messages if ending else () for ending in endings]
    traced = [next((m for m in some if isinstance(m, Traced)), None) for some in messages]
    rates, _ = machine_rates(request, [t.heaviest for t in traced if t and t.heaviest])
    found: list[Guess | None] = []
    for (_, recipe), one, ending in zip(wanted, traced, endings, strict=True):
        if one is None:
            found.append(None if ending is None else _none(ending))
            continue
        speed = recipe.batch / rates.seconds(one.work) if isinstance(rates, Rates) else None
        found.append(Guess(outcome="ok", memory_bytes=one.live_peak_bytes, images_per_second=speed))
    return found
