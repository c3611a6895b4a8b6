"""Runs an audit: gradient proofs, then rounds of trials, each in a process of its own.

After every trial the record is complete as far as it goes and lies on the disk. What ends an
audit early (the user, the run's time limit) keeps what is done; what is missing can be read off
the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ffprof.audit.child import proof_child, trial_child
from ffprof.audit.estimates import run_estimates
from ffprof.audit.keeper import Keeper
from ffprof.audit.messages import Failed
from ffprof.audit.own_file import address, reference_address
from ffprof.audit.plan import Slot, plan_rounds
from ffprof.audit.process import Ending, run_child
from ffprof.audit.request import Outcome, Progress, Request
from ffprof.audit.trials import Sampling
from ffprof.errors import one_line
from ffprof.hardware.environment import environment
from ffprof.record import GradientProof, LedgerRow, Record, Trial


def run_audit(
    request: Request, progress: Progress, now: Callable[[], float] = time.monotonic
) -> Outcome:
    """Run what is missing of the plan; the record on the disk is current after each trial."""
    run = _Run(request, progress, now)
    stopped: str | None = None
    interrupt: BaseException | None = None
    try:
        with environment(request.environment):
            stopped = run.proofs() or run.trials()
    except KeyboardInterrupt as error:
        stopped, interrupt = "interrupted", error
    finally:
        progress.ends()
    return Outcome(record=run.finish(), stopped=stopped, interrupt=interrupt)


class _Run:
    def __init__(self, request: Request, progress: Progress, now: Callable[[], float]) -> None:
        self._request, self._progress, self._now = request, progress, now
        self._keeper = Keeper(request)
        self._started = now()

    def _left(self) -> float:
        limit = self._request.record.plan.run_limit_seconds
        return float("inf") if limit is None else limit - (self._now() - self._started)

    def _limit(self) -> float:
        return min(self._request.record.plan.trial_limit_seconds, self._left())

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
            if self._left() <= 0:
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
        first = self._now()
        for number, slot in enumerate(wanted, 1):
            if self._left() <= 0:
                return _OUT_OF_TIME
            self._progress.trial_starts(slot, len(slots) - len(wanted) + number - 1, len(slots))
            trial = self._trial(slot)
            if trial is None:
                return _OUT_OF_TIME
            left = (self._now() - first) / number * (len(wanted) - number)
            self._progress.trial_ends(trial, left)
        return None

    def _trial(self, slot: Slot) -> Trial | None:
        keeper, record = self._keeper, self._keeper.record
        refusal = keeper.refused(slot.workload)
        if refusal:
            return keeper.refuse(slot, refusal)
        sampling, limit, device = Sampling(), self._limit(), self._request.device
        try:
            ending = run_child(
                self._request.context,
                trial_child,
                (
                    address(keeper.descriptions[slot.workload]),
                    record.recipe,
                    device,
                    record.budget.limit_bytes,
                ),
                limit,
                on_message=sampling.on_message,
                tick=sampling.take if device == "cuda" else None,
            )
        finally:
            sampling.close()
        if ending.kind == "timeout" and limit < record.plan.trial_limit_seconds:
            return None  # the run's limit, not the trial's: it stays missing
        return keeper.keep(slot, ending, sampling)

    def finish(self) -> Record:
        """The judged record."""
        return self._keeper.finish()


_OUT_OF_TIME = "the run's time limit is over"


def _proof_from(ending: Ending, reference: str, record: Record) -> GradientProof:
    for message in ending.messages:
        if isinstance(message, GradientProof):
            return message
    failed = next((m.message for m in ending.messages if isinstance(m, Failed)), ending.reason)
    return GradientProof(
        reference=reference,
        relative_difference=None,
        max_relative_difference=None,
        batch=record.recipe.batch,
        micro_batch=record.recipe.micro_batch,
        image_size=record.recipe.image_size,
        tolerance=0.0,
        equal=None,
        message=f"not proved: {one_line(failed) or 'the proof gave no answer'}",
    )
