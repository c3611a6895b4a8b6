"""One run of a workload in a child of its own, held to its budget and watched on a GPU.

Trials that were disturbed are taken again, a bounded number of times. Discarding without a bound
would wait for ever on a card that is always too hot, and would keep only what suits. So a slot has
``A_TRIAL`` more chances, an audit a quarter of its trials; what is disturbed after that is kept and
marked. A point of a frontier is a trial as in an audit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.context import BaseContext
from typing import Any

from ffprof.experiments.outcome import TrialResult, trial_from
from ffprof.experiments.request import Slot
from ffprof.hardware.memory_limit import Hold
from ffprof.harness.process.child import Ending, run_child
from ffprof.harness.process.guard import Guard
from ffprof.harness.process.messages import Failed, Probed
from ffprof.harness.process.monitor import LASTING, GpuGoneError, Watching
from ffprof.harness.worker import memory_child, trial_child
from ffprof.records.audit import Budget, Debit, Device, Evidence, LedgerRow, Record, Trial, Uncapped
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import address


def take(
    context: BaseContext,
    description: Description,
    recipe: Recipe,
    device: Device,
    limit_seconds: float,
    *,
    hold: Hold | None = None,
    guard: Guard | None = None,
) -> tuple[Ending, Watching]:
    """Measure a workload once; what becomes of it is for ``ffprof.experiments.outcome`` to say.

    ``hold`` and ``guard`` are those of the GPU, None on a CPU.
    """
    arguments = (address(description), recipe, device, hold)
    return _watched(context, trial_child, arguments, limit_seconds, guard, gpu=device == "cuda")


def probe(
    context: BaseContext,
    description: Description,
    recipe: Recipe,
    hold: Hold,
    limit_seconds: float,
    guard: Guard | None = None,
    *,
    child: Callable[..., None] | None = None,
) -> tuple[Ending, Watching]:
    """Run a workload on the GPU for its memory alone: a ``Probed``, or what kept it from that.

    ``child`` is ``memory_child``, or what stands for it.
    """
    arguments = (address(description), recipe, hold)
    return _watched(context, child or memory_child, arguments, limit_seconds, guard, gpu=True)


def _watched(
    context: BaseContext,
    child: Callable[..., None],
    arguments: tuple[Any, ...],
    limit_seconds: float,
    guard: Guard | None,
    *,
    gpu: bool,
) -> tuple[Ending, Watching]:
    """Run a child; one that does not end by itself when its GPU is gone has crashed."""
    watching = Watching(guard)
    try:
        ending = run_child(
            context,
            child,
            arguments,
            limit_seconds,
            on_message=watching.on_message,
            tick=watching.take if gpu else None,
        )
    except GpuGoneError as error:
        ending = Ending(kind="crashed", messages=(), reason=str(error))
    return ending, watching


def uncapped_from(ending: Ending, watching: Watching) -> Uncapped:
    """What a run without a limit found, or why it found nothing."""
    found = ending.answer(Probed)
    if isinstance(found, Failed):
        return Uncapped(message=found.message[:1000])
    return Uncapped(memory=watching.memory(found.memory), debit=found.debit)


def hold_for(
    budget: Budget, evidence: Evidence, known_bytes: int = 0, *, limited: bool = True
) -> Hold | None:
    """The hold under a budget; None where there is no GPU memory to be held.

    A card is its own limit, unless its driver would use host memory instead of failing.
    ``known_bytes`` is what this workload has been seen to take beside the allocator. Without
    ``limited`` nothing is held, and the debit is measured alone.
    """
    if budget.total_bytes is None:
        return None
    return Hold(
        total_bytes=max(0, budget.total_bytes - budget.display_bytes),
        words=words_of(budget) if limited or evidence != "emulated" else "the whole GPU",
        counted_bytes=max(known_bytes, budget.target_debit_bytes or 0),
        limited=limited and (evidence == "emulated" or bool(budget.spills)),
    )


def words_of(budget: Budget) -> str:
    """The budget for people: ``8GB (GeForce RTX 5050)``."""
    if budget.card and budget.requested:
        return f"{budget.requested} ({budget.card})"
    return budget.card or budget.requested or "this GPU"


def most_taken(debit: Debit | None) -> int:
    """The most that was seen to be taken beside the allocator."""
    if debit is None:
        return 0
    return max(debit.context_bytes, debit.step_bytes or 0, debit.end_bytes or 0)


def known_debits(record: Record) -> dict[str, int]:
    """By workload, the most that its processes took beside the allocator so far."""
    found: dict[str, int] = {}
    for name, row in record.ledger.items():
        if row.uncapped is not None:
            found[name] = most_taken(row.uncapped.debit)
    for trial in (*record.discarded, *record.trials):
        found[trial.workload] = max(found.get(trial.workload, 0), most_taken(trial.debit))
    return found


def with_debit(budget: Budget, debit: Debit | None) -> Budget:
    """The budget, with the largest part that any trial left to context and libraries."""
    if debit is None or budget.total_bytes is None:
        return budget
    counted = max(budget.debit_bytes or 0, debit.counted_bytes or 0, most_taken(debit))
    left = max(0, budget.total_bytes - budget.display_bytes - counted - debit.slack_bytes)
    return budget.model_copy(update={"debit_bytes": counted, "limit_bytes": left})


A_TRIAL = 2
LEAST = 4  # of an audit
SHARE = 0.25  # of an audit's trials


class Retakes:
    """Counts what is left of the retakes of an audit of so many trials."""

    def __init__(self, planned: int, used: int = 0) -> None:
        self._left = max(LEAST, round(SHARE * planned)) - used

    def wanted(self, trial: Trial) -> bool:
        """Whether this trial should be taken again; asking counts it.

        What was refused or ran into its time limit is not, nor what others on the GPU disturb
        that were there from the beginning: it would be so again.
        """
        curable = [d for d in trial.conditions.disturbances if not d.startswith(LASTING)]
        if not curable or trial.attempt >= A_TRIAL or self._left <= 0:
            return False
        if trial.outcome in ("refused", "timeout"):
            return False
        self._left -= 1
        return True


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
