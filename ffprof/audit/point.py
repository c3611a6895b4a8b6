"""One point of a frontier measured once: a trial in a process of its own, as in an audit."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.context import BaseContext

from ffprof.audit.child import trial_child
from ffprof.audit.own_file import address
from ffprof.audit.plan import Slot
from ffprof.audit.process import run_child
from ffprof.audit.trials import Sampling, trial_from
from ffprof.record import Device, LedgerRow, Record, Trial
from ffprof.workload import Description


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all points with one precision and memory format are measured with.

    ``record`` holds their recipe (its micro-batch is that of one point), the budget and, in its
    ledger, the facts of the first accepted trial, which those of all others must match.
    """

    record: Record
    device: Device
    context: BaseContext


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The trial, and the bench with what it taught; no trial if the whole run's time was over."""

    trial: Trial | None
    bench: Bench
    debit_bytes: int | None = None


def measure_point(
    bench: Bench,
    description: Description,
    slot: Slot,
    micro_batch: int,
    limit_seconds: float,
    left_seconds: float,
) -> Measured:
    """Run one trial for at most ``limit_seconds``; what ends it is its outcome.

    ``left_seconds`` is what is left of the whole run. If that is less, and is over before the
    trial has ended, there is no trial.
    """
    recipe = bench.record.recipe
    if description.accumulates:
        recipe = recipe.model_copy(update={"micro_batch": micro_batch})
    record = bench.record.model_copy(update={"recipe": recipe, "recipe_hash": recipe.digest()})
    limit = min(limit_seconds, left_seconds)
    sampling = Sampling()
    try:
        ending = run_child(
            bench.context,
            trial_child,
            (address(description), recipe, bench.device, record.budget.limit_bytes),
            limit,
            on_message=sampling.on_message,
            tick=sampling.take if bench.device == "cuda" else None,
        )
    finally:
        sampling.close()
    if ending.kind == "timeout" and limit < limit_seconds:
        return Measured(trial=None, bench=bench)
    result = trial_from(
        ending,
        slot,
        description,
        record,
        bench.device,
        record.evidence,
        sampling,
        bench.context.get_start_method() or "",
    )
    if result.trial.outcome == "ok" and not bench.record.ledger:
        ledger = {slot.workload: LedgerRow(facts=result.facts)}
        known = bench.record.model_copy(update={"ledger": ledger})
        bench = Bench(record=known, device=bench.device, context=bench.context)
    return Measured(trial=result.trial, bench=bench, debit_bytes=result.debit_bytes)
