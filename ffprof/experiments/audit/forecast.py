"""What an audit would take: memory from a step on fake tensors, time from its work.

The memory is the live-tensor peak of a trial, to the byte on a CPU (``estimator.host.step``).
The time is rough: floating-point operations and bytes of a step over rates that two short
kernels reached on this machine, or, better, what an earlier audit of the same recipe took here.

Runs in children like everything that needs torch; nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from statistics import median

from ffprof.errors import DataError, RefusedError
from ffprof.estimator.host.work import Convolution, Rates, Traced, Unforecast
from ffprof.experiments.request import Request
from ffprof.harness.process.child import run_child
from ffprof.harness.process.failures import located, telling
from ffprof.harness.process.messages import Failed
from ffprof.records.audit import Record
from ffprof.records.recipe import FILE_DATA, Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import FileDescription, StepDescription, address, addressed

LIMIT_SECONDS = 300.0  # of one child
# Steps of a trial beside the timed ones: one more than asked for until two agree, one to settle,
# and four untimed passes, of which the watched ones take longer than a step.
EXTRA_STEPS = 1 + 1 + 4
WATCHING_SECONDS = 60e-6  # what it adds to an operator in those passes
PROOF_STEPS = 2 * 2.5  # two gradients; float64 takes that much longer
# What the code of a workload raises where fake tensors do not do; the rest crashes the child.
_FAILURES = (RuntimeError, AssertionError, AttributeError, TypeError, ValueError)
_MIXED = "Please convert all Tensors to FakeTensors"
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


def forecast(request: Request, before: Record | None = None) -> dict[str, RowForecast]:
    """Forecasts of the workloads that the recipe does not refuse.

    Args:
        request: the audit; what its record has is not counted again.
        before: an earlier record of the same recipe and machine, whose times are better.
    """
    record = request.record
    running = [d for d in request.workloads if d.objection(record.recipe) is None]
    traces = {one.id: _trace(request, one) for one in running}
    done = {name: found for name, found in traces.items() if isinstance(found, Traced)}
    rates, start_seconds = machine_rates(request, [t.heaviest for t in done.values() if t.heaviest])
    rows = {}
    for name, found in traces.items():
        row = RowForecast(reason=found.reason) if isinstance(found, Unforecast) else RowForecast()
        known = _measured(before, name)
        if isinstance(found, Traced) and isinstance(rates, Unforecast):
            row = RowForecast(live_peak_bytes=found.live_peak_bytes, reason=rates.reason)
        elif isinstance(found, Traced) and isinstance(rates, Rates):
            row = RowForecast(
                live_peak_bytes=found.live_peak_bytes,
                trial_seconds=start_seconds + _trial(found, rates, record.recipe),
                proof_seconds=start_seconds + _proof(found, rates, record.recipe)
                if _lacks_proof(request, name)
                else None,
            )
        if known is not None:
            row = replace(row, trial_seconds=known)
        if row.trial_seconds is not None:
            left = sum(workload == name for _, workload in record.missing())
            one = min(row.trial_seconds, record.plan.trial_limit_seconds)
            row = replace(row, left_seconds=left * one)
        rows[name] = row
    return rows


def trace_child(
    sender: Connection, workload: str | FileDescription, recipe: Recipe, device: str
) -> None:
    """Send ``Traced`` or ``Unforecast``, or ``Failed`` of a workload in a file."""
    import torch

    from ffprof.estimator.host.step import trace
    from ffprof.hardware.flags import apply_flags

    apply_flags(recipe)
    with telling(sender, workload):
        try:
            sender.send(trace(addressed(workload), recipe, torch.device(device)))
        except RefusedError as error:
            sender.send(Unforecast(reason=f"its trials will be refused: {error}"))
        except _FAILURES as error:
            sender.send(Unforecast(reason=_reason(error, workload)))


def _reason(error: Exception, workload: str | FileDescription) -> str:
    line = (str(error).strip().splitlines() or [""])[0].strip()
    if _MIXED in line:
        return "it works on tensors that are not in its module"
    if isinstance(workload, FileDescription):
        return located(error, workload.source)[:300]
    return f"{type(error).__name__}: {line}"[:300]


def rates_child(sender: Connection, recipe: Recipe, device: str, typical: Convolution) -> None:
    """Send ``Rates``, or ``Unforecast`` if the data cannot be read."""
    import torch

    from ffprof.estimator.host.rates import rates_of_machine

    try:
        sender.send(rates_of_machine(recipe, torch.device(device), typical))
    except DataError as error:
        sender.send(Unforecast(reason=str(error)))


def _trace(request: Request, one: Description) -> Traced | Unforecast:
    if isinstance(one, StepDescription):
        return Unforecast(reason="what a user-defined step does is seen in its trials only")
    arguments = (address(one), request.record.recipe, request.device)
    ending = run_child(request.context, trace_child, arguments, LIMIT_SECONDS)
    for message in ending.messages:
        if isinstance(message, Traced | Unforecast):
            return message
        if isinstance(message, Failed):
            return Unforecast(reason=message.message[:300])
    reason = ending.reason.removeprefix("exit status 1: ") or "no answer"
    return Unforecast(reason=reason[:300])


def machine_rates(
    request: Request, convolutions: Sequence[Convolution]
) -> tuple[Rates | Unforecast, float]:
    """Rates at the heaviest convolution, and how long a process takes to start and end."""
    recipe = request.record.recipe
    typical = max(convolutions, key=lambda one: one.flops, default=_any_convolution(recipe))
    arguments = (recipe, request.device, typical)
    ending = run_child(request.context, rates_child, arguments, LIMIT_SECONDS)
    for message in ending.messages:
        if isinstance(message, Rates):
            return message, ending.seconds - message.inside_seconds
        if isinstance(message, Unforecast):
            return message, 0.0
    return Unforecast(reason="this machine could not be timed"), 0.0


def _any_convolution(recipe: Recipe) -> Convolution:
    """For workloads without one."""
    channels, size = 16, recipe.image_size
    flops = 2 * recipe.micro_batch * channels * channels * 9 * size * size
    shape = (recipe.micro_batch, channels, size, size)
    return Convolution(flops=flops, input=shape, weight=(channels, channels, 3, 3))


def _trial(found: Traced, rates: Rates, recipe: Recipe) -> float:
    step = _fed(rates.seconds(found.work), rates.batch_seconds, recipe)
    timed = max(recipe.min_steps, min(recipe.steps, recipe.step_box_seconds / step))
    steps = recipe.warmup_steps + EXTRA_STEPS + timed
    watching = 2 * found.work.operators * WATCHING_SECONDS
    return rates.data_seconds + found.build_seconds + steps * step + watching


def _fed(step_seconds: float, batch_seconds: float, recipe: Recipe) -> float:
    """A step with its batch: workers load beside it, and without workers it waits."""
    if recipe.data not in FILE_DATA or not recipe.data_workers:
        return step_seconds + batch_seconds
    return max(step_seconds, batch_seconds / recipe.data_workers)


def _proof(found: Traced, rates: Rates, recipe: Recipe) -> float:
    images = min(recipe.batch, 2 * recipe.micro_batch) / recipe.batch
    size = min(1.0, PROOF_SIZE / recipe.image_size) ** 2
    return 2 * found.build_seconds + PROOF_STEPS * images * size * rates.seconds(found.work)


def _lacks_proof(request: Request, name: str) -> bool:
    one = next(d for d in request.workloads if d.id == name)
    row = request.record.ledger.get(name)
    is_its_own = one.reference in ("", name) and not one.accumulates
    return not is_its_own and (row is None or row.gradient is None)


def _measured(before: Record | None, name: str) -> float | None:
    trials = [t for t in before.trials if t.workload == name] if before else []
    known = [t.conditions.wall_seconds for t in trials if t.conditions.wall_seconds is not None]
    return median(known) if known else None
