"""What an audit would take: memory from a step on fake tensors, time from its work.

The memory is the live-tensor peak of a trial, to the byte on a CPU (``ffprof.audit.fake_step``).
The time is rough: floating-point operations and bytes of a step over rates that two short
kernels reached on this machine, or, better, what an earlier audit of the same recipe took here.

Runs in children like everything that needs torch; nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from statistics import median

from ffprof.audit.process import run_child
from ffprof.audit.runner import Request
from ffprof.errors import RefusedError
from ffprof.recipe import Recipe
from ffprof.record import Record

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
class Work:
    """What operators do: convolutions and products by FLOPs, the others by bytes touched."""

    flops: int = 0
    touched_bytes: int = 0
    operators: int = 0

    def plus(self, other: Work, times: int = 1) -> Work:
        """This and ``times`` the other."""
        return Work(
            flops=self.flops + times * other.flops,
            touched_bytes=self.touched_bytes + times * other.touched_bytes,
            operators=self.operators + times * other.operators,
        )

    def minus(self, other: Work) -> Work:
        """What this does beyond the other."""
        return self.plus(other, times=-1)


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """The shape of a convolution, and the FLOPs of its forward pass."""

    flops: int
    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, kw_only=True)
class Traced:
    """One optimizer step of a workload."""

    live_peak_bytes: int
    work: Work
    heaviest: Convolution | None
    build_seconds: float


@dataclass(frozen=True, kw_only=True)
class Unforecast:
    """Why there is no forecast."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What this machine reached."""

    flops_per_second: float
    bytes_per_second: float
    operator_seconds: float
    data_seconds: float
    inside_seconds: float = 0.0

    def seconds(self, work: Work) -> float:
        """Of one step."""
        return (
            work.flops / self.flops_per_second
            + work.touched_bytes / self.bytes_per_second
            + work.operators * self.operator_seconds
        )


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
    running = [d.id for d in request.workloads if d.objection(record.recipe) is None]
    traces = {name: _trace(request, name) for name in running}
    done = {name: found for name, found in traces.items() if isinstance(found, Traced)}
    rates, start_seconds = _rates(request, [t.heaviest for t in done.values() if t.heaviest])
    rows = {}
    for name, found in traces.items():
        row = RowForecast(reason=found.reason) if isinstance(found, Unforecast) else RowForecast()
        known = _measured(before, name)
        if isinstance(found, Traced):
            seconds = start_seconds + _trial(found, rates, record.recipe) if rates else None
            row = RowForecast(
                live_peak_bytes=found.live_peak_bytes,
                trial_seconds=seconds,
                proof_seconds=start_seconds + _proof(found, rates, record.recipe)
                if rates and _lacks_proof(request, name)
                else None,
                reason="" if rates else "this machine could not be timed",
            )
        if known is not None:
            row = replace(row, trial_seconds=known)
        if row.trial_seconds is not None:
            left = sum(workload == name for _, workload in record.missing())
            one = min(row.trial_seconds, record.plan.trial_limit_seconds)
            row = replace(row, left_seconds=left * one)
        rows[name] = row
    return rows


def trace_child(sender: Connection, workload: str, recipe: Recipe, device: str) -> None:
    """Send ``Traced`` or ``Unforecast``."""
    import torch

    from ffprof.audit.fake_step import trace
    from ffprof.hardware.flags import apply_flags
    from ffprof.workload import find_workload

    apply_flags(recipe)
    try:
        sender.send(trace(find_workload(workload), recipe, torch.device(device)))
    except RefusedError as error:
        sender.send(Unforecast(reason=f"its trials will be refused: {error}"))
    except _FAILURES as error:
        line = (str(error).strip().splitlines() or [""])[0].strip()
        reason = f"{type(error).__name__}: {line}"[:300]
        if _MIXED in line:
            reason = "it works on tensors that are not in its module"
        sender.send(Unforecast(reason=reason))


def calibrate_child(sender: Connection, recipe: Recipe, device: str, typical: Convolution) -> None:
    """Send ``Rates``."""
    import torch

    from ffprof.audit.calibrate import calibrate

    sender.send(calibrate(recipe, torch.device(device), typical))


def _trace(request: Request, workload: str) -> Traced | Unforecast:
    arguments = (workload, request.record.recipe, request.device)
    ending = run_child(request.context, trace_child, arguments, LIMIT_SECONDS)
    for message in ending.messages:
        if isinstance(message, Traced | Unforecast):
            return message
    reason = ending.reason.removeprefix("exit status 1: ") or "no answer"
    return Unforecast(reason=reason[:300])


def _rates(request: Request, convolutions: Sequence[Convolution]) -> tuple[Rates | None, float]:
    """Rates at the heaviest convolution, and how long a process takes to start and end."""
    recipe = request.record.recipe
    typical = max(convolutions, key=lambda one: one.flops, default=_any_convolution(recipe))
    arguments = (recipe, request.device, typical)
    ending = run_child(request.context, calibrate_child, arguments, LIMIT_SECONDS)
    rates = next((m for m in ending.messages if isinstance(m, Rates)), None)
    return rates, ending.seconds - rates.inside_seconds if rates else 0.0


def _any_convolution(recipe: Recipe) -> Convolution:
    """For workloads without one."""
    channels, size = 16, recipe.image_size
    flops = 2 * recipe.micro_batch * channels * channels * 9 * size * size
    shape = (recipe.micro_batch, channels, size, size)
    return Convolution(flops=flops, input=shape, weight=(channels, channels, 3, 3))


def _trial(found: Traced, rates: Rates, recipe: Recipe) -> float:
    step = rates.seconds(found.work)
    timed = max(recipe.min_steps, min(recipe.steps, recipe.step_box_seconds / step))
    steps = recipe.warmup_steps + EXTRA_STEPS + timed
    watching = 2 * found.work.operators * WATCHING_SECONDS
    return rates.data_seconds + found.build_seconds + steps * step + watching


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
