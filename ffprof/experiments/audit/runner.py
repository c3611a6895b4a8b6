"""Runs an audit: gradient proofs, then rounds of trials, each in a process of its own.

After every trial the record is complete as far as it goes and lies on the disk. What ends an
audit early (the user, the run's time limit) keeps what is done; what is missing can be read off
the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ffprof.errors import one_line
from ffprof.experiments.attempt import Retakes, hold_for, known_debits, probe, take, uncapped_from
from ffprof.experiments.audit.estimates import run_estimates
from ffprof.experiments.audit.recorder import Keeper
from ffprof.experiments.outcome import TrialResult
from ffprof.experiments.request import Outcome, Progress, Request, Slot, plan_rounds
from ffprof.hardware.environment import environment
from ffprof.harness.process.child import Ending, run_child
from ffprof.harness.process.guard import Guard
from ffprof.harness.worker import proof_child
from ffprof.records.audit import GradientProof, LedgerRow, Record, Trial
from ffprof.workload.user_file import address, reference_address


def run_audit(
    request: Request,
    progress: Progress,
    now: Callable[[], float] = time.monotonic,
    guard: Guard | None = None,
) -> Outcome:
    """Run what is missing of the plan; the record on the disk is current after each trial.

    Raises:
        DeviceError: the GPU is taken by others, and must not be.
    """
    measured = request.device == "cuda" and request.target is None
    uuid = request.record.machine.gpu_uuid if measured else None
    guard = guard or Guard(uuid, request.on_foreign, say=progress.says)
    run = _Run(request, progress, now, guard)
    stopped: str | None = None
    interrupt: BaseException | None = None
    try:
        with environment(request.environment), guard.on_duty(run.left) as notes:
            run.note(notes)
            stopped = run.proofs() or run.uncapped() or run.trials()
    except KeyboardInterrupt as error:
        stopped, interrupt = "interrupted", error
    finally:
        progress.ends()
    return Outcome(record=run.finish(), stopped=stopped, interrupt=interrupt)


class _Run:
    def __init__(
        self, request: Request, progress: Progress, now: Callable[[], float], guard: Guard
    ) -> None:
        self._request, self._progress, self._now = request, progress, now
        self._keeper, self._guard = Keeper(request), guard
        self._started = now()

    def note(self, notes: tuple[str, ...]) -> None:
        """Add to the record's notes."""
        self._keeper.say(*notes)

    def left(self) -> float:
        """Seconds of the run's limit that are left."""
        limit = self._request.record.plan.run_limit_seconds
        return float("inf") if limit is None else limit - (self._now() - self._started)

    def _limit(self) -> float:
        return min(self._request.record.plan.trial_limit_seconds, self.left())

    def proofs(self) -> str | None:
        """Fill the ledger's gradient column; returns why the audit must stop, or None."""
        if self._request.target is not None:
            return None  # proofs would take longer than the whole estimate
        keeper, plan = self._keeper, self._request.record.plan
        names = [n for n in plan.workloads if not keeper.refused(n)]
        for number, name in enumerate(names):
            one = keeper.descriptions[name]
            reference = one.reference
            if reference in ("", name) and not one.accumulates:
                continue  # it is its own reference
            if keeper.record.ledger.get(name, LedgerRow()).gradient is not None:
                continue  # proved before the audit was interrupted
            if self.left() <= 0:
                return _OUT_OF_TIME
            self._progress.proof_starts(name, number, len(names))
            limit = self._limit()
            ending = run_child(
                self._request.context,
                proof_child,
                (address(one), reference_address(one), keeper.record.recipe),
                limit,
            )
            if ending.kind == "timeout" and limit < plan.trial_limit_seconds:
                return _OUT_OF_TIME  # the run's limit, not the proof's: it stays missing
            keeper.note(name, gradient=_proof_from(ending, reference, keeper.record))
        return None

    def uncapped(self) -> str | None:
        """Where a card is emulated, what rows take without it; returns why to stop, or None."""
        keeper, record = self._keeper, self._request.record
        if self._request.target is not None or record.evidence != "emulated":
            return None
        hold = hold_for(record.budget, record.evidence, limited=False)
        if hold is None:
            return None
        names = [n for n in record.plan.workloads if not keeper.refused(n)]
        for number, name in enumerate(names):
            if keeper.record.ledger.get(name, LedgerRow()).uncapped is not None:
                continue  # tried before the audit was interrupted
            stopped = self._may_start()
            if stopped is not None:
                return stopped
            self._progress.memory_starts(name, number, len(names))
            limit = self._limit()
            found = probe(
                self._request.context, keeper.descriptions[name], record.recipe, hold, limit,
                self._guard,
            )  # fmt: skip
            if found[0].kind == "timeout" and limit < record.plan.trial_limit_seconds:
                return _OUT_OF_TIME
            keeper.note(name, uncapped=uncapped_from(*found))
        return None

    def trials(self) -> str | None:
        """Run every slot that has no trial; returns why the audit must stop, or None."""
        plan, request = self._request.record.plan, self._request
        slots = plan_rounds(plan.workloads, plan.rounds, request.record.recipe.seed)
        missing = set(request.record.missing())
        wanted = [slot for slot in slots if (slot.round, slot.workload) in missing]
        if request.target is not None:
            limit = self._limit()
            run_estimates(self._keeper, request, request.target, wanted, self._progress, limit)
            return None
        retakes = Retakes(len(slots), len(request.record.discarded))
        first = self._now()
        for number, slot in enumerate(wanted, 1):
            done = len(slots) - len(wanted) + number - 1
            trial = self._settled(slot, done, len(slots), retakes)
            if isinstance(trial, str):
                return trial
            left = (self._now() - first) / number * (len(wanted) - number)
            self._progress.trial_ends(trial, left)
        return None

    def _settled(self, slot: Slot, done: int, total: int, retakes: Retakes) -> Trial | str:
        """The trial that is kept, after as many as were disturbed; or why the audit must stop."""
        refusal = self._keeper.refused(slot.workload)
        attempt = 0
        while True:
            if (stopped := self._may_start()) is not None:
                return stopped
            self._progress.trial_starts(slot, done, total)
            if refusal:
                return self._keeper.refuse(slot, refusal)
            result = self._trial(slot, attempt)
            if result is None:
                return _OUT_OF_TIME
            if not retakes.wanted(result.trial):
                return self._keeper.add(result)
            self._keeper.discard(result.trial)
            why = "; ".join(result.trial.conditions.disturbances)
            self._progress.says(f"{slot.workload} is taken again: {why}")
            self._guard.calm(self.left)
            attempt += 1

    def _may_start(self) -> str | None:
        return _OUT_OF_TIME if self.left() <= 0 else self._guard.admit(self.left)

    def _trial(self, slot: Slot, attempt: int) -> TrialResult | None:
        keeper, record, request = self._keeper, self._keeper.record, self._request
        limit, known = self._limit(), known_debits(record).get(slot.workload, 0)
        ending, watching = take(
            request.context,
            keeper.descriptions[slot.workload],
            record.recipe,
            request.device,
            limit,
            hold=hold_for(record.budget, record.evidence, known),
            guard=self._guard if request.device == "cuda" else None,
        )
        if ending.kind == "timeout" and limit < record.plan.trial_limit_seconds:
            return None  # the run's limit, not the trial's: it stays missing
        return keeper.judged(slot, ending, watching, attempt)

    def finish(self) -> Record:
        """The judged record."""
        return self._keeper.finish()


_OUT_OF_TIME = "the run's time limit is over"


def _proof_from(ending: Ending, reference: str, record: Record) -> GradientProof:
    found = ending.answer(GradientProof)
    if isinstance(found, GradientProof):
        return found
    return GradientProof(
        reference=reference,
        relative_difference=None,
        max_relative_difference=None,
        batch=record.recipe.batch,
        micro_batch=record.recipe.micro_batch,
        image_size=record.recipe.image_size,
        tolerance=0.0,
        equal=None,
        message=f"not proved: {one_line(found.message)}",
    )
