"""What an audit would take: memory from a step on fake tensors, time from one real step.

The memory is the live-tensor peak of a trial, to the byte on a CPU (``estimator.workload``). The
time is rough: one optimizer step that is timed in a process of its own after a first one, or,
better, what an earlier audit of the same recipe took here.

Runs in children like everything that needs torch; nothing is written.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from statistics import median

from ffprof.errors import DeviceError, one_line
from ffprof.estimator.worker import TracedStep, trace_child
from ffprof.experiments.attempt import hold_for
from ffprof.experiments.request import Request
from ffprof.experiments.session import guard_over
from ffprof.harness.process.child import run_child
from ffprof.harness.process.messages import Failed, StepTime
from ffprof.harness.worker import step_child
from ffprof.records.audit import Record
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.step import StepDescription
from ffprof.workload.user_file import address

LIMIT_SECONDS = 300.0  # of one child
# Steps of a trial in addition to the timed ones: one more than requested until two agree, one to
# settle, and four untimed passes, of which the watched ones take longer than a step.
EXTRA_STEPS = 1 + 1 + 4
WATCHING_SECONDS = 60e-6  # what it adds to an operator in those passes
PROOF_STEPS = 2 * 2.5  # two gradients; float64 takes that much longer
PROOF_SIZE = 32  # proofs are made on images of about this size


@dataclass(frozen=True, kw_only=True)
class RowForecast:
    """Of one workload; a figure that is None has its reason in ``reason``.

    ``trial_seconds`` is that of one trial, ``left_seconds`` that of all that are missing, none of
    them over its limit.
    """

    live_peak_bytes: int | None = None
    trial_seconds: float | None = None
    left_seconds: float | None = None
    proof_seconds: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Times:
    """Seconds of one trial, and of one of its steps."""

    trial: float
    step: float


def forecast(request: Request, before: Record | None = None) -> dict[str, RowForecast]:
    """Forecasts of the workloads that the recipe does not refuse.

    Args:
        request: the audit; what its record has is not counted again.
        before: an earlier record of the same recipe and machine, whose times are better.
    """
    recipe = request.record.recipe
    running = [d for d in request.workloads if d.objection(recipe) is None]
    known = {one.id: _measured(before, one.id, recipe) for one in running}
    guard = guard_over(request, request.on_foreign)
    try:
        # One step of each is run, so nobody else is to measure on the GPU meanwhile.
        with guard.on_duty(lambda: float("inf")) if None in known.values() else nullcontext():
            return {one.id: _row(request, one, known[one.id]) for one in running}
    except DeviceError as error:
        return {one.id: _row(request, one, known[one.id], busy=str(error)) for one in running}


def _row(request: Request, one: Description, known: _Times | None, busy: str = "") -> RowForecast:
    """The forecast of one row; ``busy`` is why no step may be run."""
    record = request.record
    if isinstance(one, StepDescription):
        row = RowForecast(reason="what a user-defined step does is seen in its trials only")
        return row if known is None else _timed(request, one, row, known)
    pieces = ([(address(one), record.recipe)], request.device)
    ending = run_child(request.context, trace_child, pieces, LIMIT_SECONDS)
    traced = ending.answer(TracedStep)
    if isinstance(traced, Failed):
        row = RowForecast(reason=_reason(traced))
        return row if known is None else _timed(request, one, row, known)
    start = max(0.0, ending.seconds - traced.inside_seconds)
    row = RowForecast(live_peak_bytes=traced.live_peak_bytes)
    if known is None and busy:
        return replace(row, reason=busy[:300])
    if known is None:
        limit = min(LIMIT_SECONDS, record.plan.trial_limit_seconds)
        hold = None
        if request.device == "cuda":
            hold = hold_for(record.budget, record.evidence)
        ending = run_child(request.context, step_child, (*pieces, hold), limit)
        step = ending.answer(StepTime)
        if isinstance(step, Failed):
            return replace(row, reason=_reason(step))
        known = _Times(
            trial=start + _trial_seconds(step, traced, record.recipe), step=step.step_seconds
        )
    if _lacks_proof(request, one.id):
        proof = start + 2 * traced.build_seconds + _proof_steps(record.recipe) * known.step
        row = replace(row, proof_seconds=proof)
    return _timed(request, one, row, known)


def _timed(request: Request, one: Description, row: RowForecast, known: _Times) -> RowForecast:
    record = request.record
    left = sum(workload == one.id for _, workload in record.missing())
    seconds = left * min(known.trial, record.plan.trial_limit_seconds)
    return replace(row, trial_seconds=known.trial, left_seconds=seconds)


def _reason(failed: Failed) -> str:
    return one_line(failed.message).removeprefix("exit status 1: ")[:300]


def _trial_seconds(step: StepTime, traced: TracedStep, recipe: Recipe) -> float:
    """Of a trial inside its process; the first step is among what came before."""
    one = step.step_seconds
    timed = max(recipe.min_steps, min(recipe.steps, recipe.step_box_seconds / one))
    steps = recipe.warmup_steps - 1 + EXTRA_STEPS + timed
    watching = 2 * traced.operators * WATCHING_SECONDS
    return step.before_seconds + steps * one + watching


def _proof_steps(recipe: Recipe) -> float:
    """How many steps of a trial a proof is worth."""
    images = min(recipe.batch, 2 * recipe.micro_batch) / recipe.batch
    size = min(1.0, PROOF_SIZE / recipe.image_size) ** 2
    return PROOF_STEPS * images * size


def _lacks_proof(request: Request, name: str) -> bool:
    one = next(d for d in request.workloads if d.id == name)
    row = request.record.ledger.get(name)
    is_its_own = one.reference in ("", name) and not one.accumulates
    return not is_its_own and (row is None or row.gradient is None)


def _measured(before: Record | None, name: str, recipe: Recipe) -> _Times | None:
    """The medians of an earlier record."""
    trials = [t for t in before.trials if t.workload == name] if before else []
    known = [t.conditions.wall_seconds for t in trials if t.conditions.wall_seconds is not None]
    if not known:
        return None
    rates = [t.throughput.images_per_second for t in trials if t.throughput is not None]
    step = recipe.batch / median(rates) if rates else 0.0
    return _Times(trial=median(known), step=step)
