"""What estimates say of every point of a frontier: many recipes, few children.

For a GPU they come from the estimator. For a processor, memory is that of a step on fake tensors,
exact to the byte, and speed that of one real step, timed after a first one as in a dry run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ffprof.errors import one_line
from ffprof.estimator.target import Estimated, Target
from ffprof.estimator.worker import TracedStep, estimate_child, trace_child
from ffprof.experiments.request import Request
from ffprof.harness.process.calls import run_series
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Failed, StepTime
from ffprof.harness.worker import step_child
from ffprof.records.frontier import Guess
from ffprof.records.recipe import Recipe
from ffprof.records.redaction import recorded
from ffprof.workload import Description
from ffprof.workload.step import StepDescription
from ffprof.workload.user_file import FileDescription, address

LIMIT_SECONDS = 300.0  # of one point
_OWN_STEP = Failed(
    outcome="refused", message="what a user-defined step does is seen in its trials only"
)


class EnoughError(Exception):
    """Raised by whoever follows the guesses to have no more of them."""


def guess_all(
    request: Request,
    wanted: Sequence[tuple[Description, Recipe]],
    target: Target | None,
    progress: Callable[[int], None] = lambda number: None,
) -> list[Guess | None]:
    """A guess for every pair, in their order; None for those that were not reached.

    Args:
        request: the recipe and machine that all pairs are of.
        wanted: workloads, each with the recipe of a point.
        target: the card that is estimated; None measures on a processor.
        progress: called with the number of guesses so far; may raise ``EnoughError``.
    """
    if target is None:
        return _on_processor(request, wanted, progress)
    endings = _ask(request, wanted, progress, estimate_child, target, LIMIT_SECONDS)
    return [None if ending is None else _estimated(ending) for ending in endings]


def _ask(
    request: Request,
    wanted: Sequence[tuple[Description, Recipe]],
    progress: Callable[[int], None],
    child: Callable[..., None],
    argument: Any,
    limit_seconds: float,
) -> list[Ending | None]:
    """The ending of every pair; None once ``progress`` has enough."""
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
                progress(count)

            if child is trace_child and isinstance(wanted[group[0]][0], StepDescription):
                answered(0, Ending(kind="ended", messages=(_OWN_STEP,)))
                continue
            pieces = [(address(wanted[n][0]), wanted[n][1]) for n in group]
            run_series(request.context, child, pieces, limit_seconds, answered, (argument,))
    return endings


def _on_processor(
    request: Request, wanted: Sequence[tuple[Description, Recipe]], progress: Callable[[int], None]
) -> list[Guess | None]:
    """Memory of every pair, then one real step of each that has it."""
    device, limit = request.device, request.record.plan.trial_limit_seconds
    endings = _ask(request, wanted, progress, trace_child, device, LIMIT_SECONDS)
    peaks = [None if ending is None else ending.answer(TracedStep) for ending in endings]
    fitting = [n for n, peak in enumerate(peaks) if isinstance(peak, TracedStep)]
    timed: list[Ending | None] = []
    if all(endings):
        pairs = [wanted[n] for n in fitting]
        timed = _ask(request, pairs, progress, step_child, device, min(LIMIT_SECONDS, limit))
    steps = dict(zip(fitting, timed, strict=False))
    found: list[Guess | None] = []
    for number, ((_, recipe), peak) in enumerate(zip(wanted, peaks, strict=True)):
        if not isinstance(peak, TracedStep):
            found.append(None if peak is None else _none(peak))
            continue
        ending = steps.get(number)
        step = None if ending is None else ending.answer(StepTime)
        speed = recipe.batch / step.step_seconds if isinstance(step, StepTime) else None
        found.append(
            Guess(outcome="ok", memory_bytes=peak.live_peak_bytes, images_per_second=speed)
        )
    return found


def _estimated(ending: Ending) -> Guess:
    found = ending.answer(Estimated)
    if isinstance(found, Failed):
        return _none(found)
    row = found.row
    return Guess(
        outcome=row.outcome,
        fit=row.fit.answer if row.fit else None,
        memory_bytes=row.memory.allocated_peak_bytes if row.memory else None,
        reserved_bytes=row.memory.reserved_peak_bytes if row.memory else None,
        images_per_second=row.throughput.images_per_second if row.throughput else None,
        message=row.message,
    )


def _none(failed: Failed) -> Guess:
    return Guess(outcome=failed.outcome, message=recorded(one_line(failed.message), 1000))
