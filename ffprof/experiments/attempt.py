"""One run of a workload in a child of its own, limited to its budget and watched on a GPU.

Trials that were disturbed are repeated, a bounded number of times. Discarding without a bound
would wait for ever on a card that is always too hot, and would keep only what suits. So a slot has
``A_TRIAL`` more chances, an audit a quarter of its trials; what is disturbed after that is kept and
marked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

from ffprof.experiments.campaign import Campaign
from ffprof.experiments.outcome import TrialResult, trial_from
from ffprof.experiments.request import Slot
from ffprof.hardware.memory_limit import MemoryLimit
from ffprof.harness.process.child import Ending, run_child
from ffprof.harness.process.guard import Guard
from ffprof.harness.process.messages import Failed, Probed
from ffprof.harness.process.monitor import LASTING, GpuGoneError, Watching
from ffprof.harness.worker import memory_child, trial_child
from ffprof.records.audit import (
    Budget,
    Debit,
    Device,
    Evidence,
    Record,
    Trial,
    Uncapped,
    is_limited,
)
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
    hold: MemoryLimit | None = None,
    guard: Guard | None = None,
) -> tuple[Ending, Watching]:
    """Measure a workload once; what happens to it is for ``ffprof.experiments.outcome`` to say.

    ``hold`` and ``guard`` are those of the GPU, None on a CPU.
    """
    arguments = (address(description), recipe, device, hold)
    return watched(context, trial_child, arguments, limit_seconds, guard, gpu=device == "cuda")


def probe(
    context: BaseContext,
    description: Description,
    recipe: Recipe,
    hold: MemoryLimit,
    limit_seconds: float,
    guard: Guard | None = None,
    *,
    child: Callable[..., None] | None = None,
) -> tuple[Ending, Watching]:
    """Run a workload on the GPU for its memory alone: a ``Probed``, or what kept it from that.

    ``child`` is ``memory_child``, or what stands for it.
    """
    arguments = (address(description), recipe, hold)
    return watched(context, child or memory_child, arguments, limit_seconds, guard, gpu=True)


def watched(
    context: BaseContext,
    child: Callable[..., None],
    arguments: tuple[Any, ...],
    limit_seconds: float,
    guard: Guard | None,
    *,
    gpu: bool,
    tell: Callable[[Any], None] | None = None,
    tick: Callable[[], None] | None = None,
) -> tuple[Ending, Watching]:
    """Run a child; one that does not end by itself when its GPU is gone has crashed.

    ``tell`` is called with every message, ``tick`` ten times a second.
    """
    watching = Watching(guard)

    def on_message(pid: int, message: Any) -> None:
        watching.on_message(pid, message)
        if tell is not None:
            tell(message)

    def on_tick() -> None:
        if gpu:
            watching.take()
        if tick is not None:
            tick()

    try:
        ending = run_child(
            context,
            child,
            arguments,
            limit_seconds,
            on_message=on_message,
            tick=on_tick if gpu or tick is not None else None,
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
) -> MemoryLimit | None:
    """The hold under a budget; None where there is no GPU memory to be held.

    A card is its own limit, unless its driver would use host memory instead of failing.
    ``known_bytes`` is what this workload has been seen to take in addition to the allocator.
    Without ``limited`` nothing is held, and the debit is measured alone.
    """
    if budget.total_bytes is None:
        return None
    emulating = is_limited(budget, evidence)
    return MemoryLimit(
        total_bytes=max(0, budget.total_bytes - budget.display_bytes),
        words=words_of(budget) if limited or not emulating else "the whole GPU",
        counted_bytes=max(known_bytes, budget.target_debit_bytes or 0),
        limited=limited and (emulating or bool(budget.spills)),
    )


def words_of(budget: Budget) -> str:
    """The budget for people: ``8GB (GeForce RTX 5050)``."""
    if budget.card and budget.requested:
        return f"{budget.requested} ({budget.card})"
    return budget.card or budget.requested or "this GPU"


def most_taken(debit: Debit | None) -> int:
    """The most that was seen to be taken in addition to the allocator."""
    if debit is None:
        return 0
    return max(debit.context_bytes, debit.step_bytes or 0, debit.end_bytes or 0)


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
        """Whether this trial should be repeated; asking counts it.

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


class Debits(dict[str, int]):
    """By workload, the most bytes that its processes took outside the allocator so far."""

    @classmethod
    def of(cls, record: Record) -> Debits:
        """Those of a record's ledger and trials."""
        found = cls()
        for name, row in record.ledger.items():
            if row.uncapped is not None:
                found.add(name, row.uncapped.debit)
        for trial in (*record.discarded, *record.trials):
            found.add(trial.workload, trial.debit)
        return found

    def add(self, workload: str, debit: Debit | None) -> None:
        """Take note of what one process took."""
        self[workload] = max(self.get(workload, 0), most_taken(debit))


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Runs workloads, each in a process of its own that is limited to the budget.

    Attributes:
        campaign: what they are part of.
        context: starts the processes.
        device: where they run.
        retakes: how many that are disturbed may be repeated.
        debits: what workloads take in addition to the allocator, for those that have run.
    """

    campaign: Campaign
    context: BaseContext
    device: Device
    retakes: Retakes
    debits: Debits

    def uncapped(self, one: Description, record: Record, limit_seconds: float) -> Uncapped | None:
        """What a workload takes of an emulated card's GPU without a limit; None on another.

        Otherwise its first trial might go beyond the card before its limit is known.

        Raises:
            StoppedError: the run goes no further.
        """
        if not is_limited(record.budget, record.evidence) or self.device != "cuda":
            return None
        hold = hold_for(record.budget, record.evidence, limited=False)
        if hold is None:
            return None
        limit = self.campaign.limit(limit_seconds)
        ending, watching = probe(self.context, one, record.recipe, hold, limit, self.campaign.guard)
        self.campaign.charge(ending.kind == "timeout", limit, limit_seconds)
        found = uncapped_from(ending, watching)
        self.debits.add(one.id, found.debit)
        return found

    def settled(
        self,
        one: Description,
        slot: Slot,
        record: Record,
        limit_seconds: float,
        discard: Callable[[Trial], None],
    ) -> TrialResult:
        """The trial that is kept, after as many as were disturbed; what ends it is its outcome.

        Args:
            one: the workload.
            slot: its place in the record.
            record: recipe, budget and, in its ledger, the facts that this trial's must match.
            limit_seconds: of one trial.
            discard: told of each trial that is repeated.

        Raises:
            StoppedError: the run goes no further; the trial stays missing.
        """
        campaign, attempt = self.campaign, 0
        if one.id not in self.debits:
            self.uncapped(one, record, limit_seconds)
        while True:
            limit = campaign.limit(limit_seconds)
            ending, watching = take(
                self.context,
                one,
                record.recipe,
                self.device,
                limit,
                hold=hold_for(record.budget, record.evidence, self.debits.get(one.id, 0)),
                guard=campaign.guard if self.device == "cuda" else None,
            )
            campaign.charge(ending.kind == "timeout", limit, limit_seconds)
            method = self.context.get_start_method() or ""
            result = trial_from(ending, slot, one, record, self.device, watching, method, attempt)
            self.debits.add(one.id, result.trial.debit)
            if not self.retakes.wanted(result.trial):
                return result
            number = f"{result.trial.id}-a{attempt}"
            discard(result.trial.model_copy(update={"id": number}))
            why = "; ".join(result.trial.conditions.disturbances)
            campaign.progress.says(f"{slot.workload} is repeated: {why}")
            campaign.guard.calm(campaign.left)
            campaign.admit()
            attempt += 1
