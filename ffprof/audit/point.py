"""One point of a frontier measured once: a trial in a process of its own, as in an audit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.context import BaseContext

from ffprof.audit.budgets import hold_for, most_taken
from ffprof.audit.plan import Slot
from ffprof.audit.retakes import Retakes
from ffprof.audit.taking import probe, take, uncapped_from
from ffprof.audit.trials import TrialResult, trial_from
from ffprof.harness.process.guard import Guard
from ffprof.records.audit import Device, LedgerRow, Record, Trial
from ffprof.workload import Description


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all points with one precision and memory format are measured with.

    ``record`` holds their recipe (its micro-batch is that of one point), the budget and, in its
    ledger, the facts of the first accepted trial, which those of all others must match. ``guard``
    looks after the GPU, ``retakes`` counts trials that are taken again, and ``known`` is what
    workloads take beside the allocator, for those that have run; all benches of a frontier share
    them.
    """

    record: Record
    device: Device
    context: BaseContext
    guard: Guard = field(default_factory=lambda: Guard(None))
    retakes: Retakes = field(default_factory=lambda: Retakes(0))
    known: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The trial, and the bench with what it taught; no trial if the whole run's time was over.

    ``discarded`` are those before it that were disturbed.
    """

    trial: Trial | None
    bench: Bench
    discarded: tuple[Trial, ...] = ()


def measure_point(
    bench: Bench,
    description: Description,
    slot: Slot,
    micro_batch: int,
    limit_seconds: float,
    left: Callable[[], float],
) -> Measured:
    """Run one trial for at most ``limit_seconds``; what ends it is its outcome.

    One that is disturbed is taken again. ``left`` tells the seconds of the whole run; if they are
    over before a trial has ended, there is none.
    """
    recipe = bench.record.recipe
    if description.accumulates:
        recipe = recipe.model_copy(update={"micro_batch": micro_batch})
    record = bench.record.model_copy(update={"recipe": recipe, "recipe_hash": recipe.digest()})
    discarded: list[Trial] = []
    _know(bench, record, description, limit_seconds, left)
    while True:
        result = _once(bench, record, description, slot, (limit_seconds, left()), len(discarded))
        if result is None:
            return Measured(trial=None, bench=bench, discarded=tuple(discarded))
        name, taken = slot.workload, most_taken(result.trial.debit)
        bench.known[name] = max(bench.known.get(name, 0), taken)
        if not bench.retakes.wanted(result.trial):
            break
        number = f"{result.trial.id}-a{result.trial.attempt}"
        discarded.append(result.trial.model_copy(update={"id": number}))
        bench.guard.calm(left)
        if left() <= 0:
            return Measured(trial=None, bench=bench, discarded=tuple(discarded))
    if result.trial.outcome == "ok" and not bench.record.ledger:
        ledger = {slot.workload: LedgerRow(facts=result.facts)}
        bench = replace(bench, record=bench.record.model_copy(update={"ledger": ledger}))
    return Measured(trial=result.trial, bench=bench, discarded=tuple(discarded))


def _know(
    bench: Bench,
    record: Record,
    description: Description,
    limit_seconds: float,
    left: Callable[[], float],
) -> None:
    """See what a workload takes beside the allocator before its first trial on a held GPU.

    Otherwise that trial might go beyond the card before its limit is known. What a run without a
    limit does not find out, if it fails, the trial itself will.
    """
    name = description.id
    if record.evidence != "emulated" or bench.device != "cuda" or name in bench.known:
        return
    limit = min(limit_seconds, left())
    hold = hold_for(record.budget, record.evidence, limited=False)
    if hold is None or limit <= 0:
        return
    ending, watching = probe(bench.context, description, record.recipe, hold, limit, bench.guard)
    bench.known[name] = most_taken(uncapped_from(ending, watching).debit)


def _once(
    bench: Bench,
    record: Record,
    description: Description,
    slot: Slot,
    limits: tuple[float, float],
    attempt: int,
) -> TrialResult | None:
    limit = min(limits)
    known = bench.known.get(slot.workload, 0)
    ending, watching = take(
        bench.context,
        description,
        record.recipe,
        bench.device,
        limit,
        hold=hold_for(record.budget, record.evidence, known),
        guard=bench.guard if bench.device == "cuda" else None,
    )
    if ending.kind == "timeout" and limit < limits[0]:
        return None
    return trial_from(
        ending,
        slot,
        description,
        record,
        bench.device,
        record.evidence,
        watching,
        bench.context.get_start_method() or "",
        attempt,
    )
