"""What estimates say of every point of a frontier: many recipes, few children.

For a GPU they come from the estimator. For a processor, memory is that of a step on fake tensors,
exact to the byte, and speed that of one real step, timed after a first one as in a dry run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from ffprof.errors import one_line
from ffprof.estimator.target import Target
from ffprof.estimator.worker import Piece, TracedStep, estimate_child, trace_child
from ffprof.experiments.request import Request
from ffprof.harness.process.calls import run_series
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Failed, Finished, Report, StepTime
from ffprof.harness.worker import step_child
from ffprof.records.frontier import Guess
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import FileDescription, StepDescription, address

LIMIT_SECONDS = 300.0  # of one point
Message = TypeVar("Message")
_OWN_STEP = Failed(
    outcome="refused", message="what a step of the user's own does is seen in its trials only"
)


class EnoughError(Exception):
    """Raised by whoever is told of guesses to have no more of them."""


def estimate_pieces_child(sender: Connection, pieces: list[Piece], target: Target) -> None:
    """Estimate each workload under its own recipe; send ``Finished`` or ``Failed`` for each."""
    for workload, recipe in pieces:
        estimate_child(sender, [workload], recipe, target)


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
    if target is None:
        return _on_processor(request, wanted, told)
    endings = _ask(request, wanted, told, estimate_pieces_child, target, LIMIT_SECONDS)
    return [None if ending is None else _estimated(ending) for ending in endings]


def _ask(
    request: Request,
    wanted: Sequence[tuple[Description, Recipe]],
    told: Callable[[int], None],
    child: Callable[..., None],
    argument: Any,
    limit_seconds: float,
) -> list[Ending | None]:
    """The ending of every pair; None once ``told`` has enough."""
    endings: list[Ending | None] = [None] * len(wanted)
    count = 0
    # Registered workloads share a child; those of a file have one each.
    numbers = range(len(wanted))
    shared = [n for n in numbers if not isinstance(wanted[n][0], FileDescription)]
    groups = [shared] if shared else []
    groups += [[n] for n in numbers if isinstance(wanted[n][0], FileDescription)]
    with suppress(EnoughError):
        for group in groups:

            def answered(number: int, ending: Ending, group: list[int] = group) -> None:
                nonlocal count
                endings[group[number]] = ending
                count += 1
                told(count)

            if child is trace_child and isinstance(wanted[group[0]][0], StepDescription):
                answered(0, Ending(kind="ended", messages=(_OWN_STEP,)))
                continue
            pieces = [(address(wanted[n][0]), wanted[n][1]) for n in group]
            run_series(request.context, child, pieces, limit_seconds, answered, (argument,))
    return endings


def _on_processor(
    request: Request, wanted: Sequence[tuple[Description, Recipe]], told: Callable[[int], None]
) -> list[Guess | None]:
    """Memory of every pair, then one real step of each that has it."""
    device, limit = request.device, request.record.plan.trial_limit_seconds
    endings = _ask(request, wanted, told, trace_child, device, LIMIT_SECONDS)
    peaks = [_message(ending, TracedStep) for ending in endings]
    fitting = [n for n, peak in enumerate(peaks) if peak is not None]
    timed: list[Ending | None] = []
    if all(endings):
        pairs = [wanted[n] for n in fitting]
        timed = _ask(request, pairs, told, step_child, device, min(LIMIT_SECONDS, limit))
    steps = dict(zip(fitting, timed, strict=False))
    found: list[Guess | None] = []
    for number, ((_, recipe), ending, peak) in enumerate(zip(wanted, endings, peaks, strict=True)):
        if peak is None:
            found.append(None if ending is None else _none(ending))
            continue
        step = _message(steps.get(number), StepTime)
        speed = None if step is None else recipe.batch / step.step_seconds
        found.append(
            Guess(outcome="ok", memory_bytes=peak.live_peak_bytes, images_per_second=speed)
        )
    return found


def _message(ending: Ending | None, kind: type[Message]) -> Message | None:
    messages = () if ending is None else ending.messages
    return next((m for m in messages if isinstance(m, kind)), None)


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
    outcome = "timeout" if ending.kind == "timeout" else "crashed"
    return Guess.model_validate({"outcome": outcome, "message": one_line(ending.reason)[:1000]})
