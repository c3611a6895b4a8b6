"""Runs an audit: gradient proofs, then rounds of trials, each in a process of its own.

After every trial the record is complete as far as it goes and lies on the disk. What ends an
audit early (the user, the run's time limit) keeps what is done; what is missing can be read off
the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Protocol

from ffprof.audit.child import estimate_child, proof_child, trial_child
from ffprof.audit.messages import Failed
from ffprof.audit.own_file import address, reference_address
from ffprof.audit.plan import Slot, plan_rounds
from ffprof.audit.process import Ending, run_child
from ffprof.audit.store import save
from ffprof.audit.target import Target
from ffprof.audit.trials import Sampling, trial_from
from ffprof.errors import one_line
from ffprof.hardware.environment import environment
from ffprof.record import Device, GradientProof, LedgerRow, Record, Trial, Verdict
from ffprof.workload import Description


@dataclass(frozen=True, kw_only=True)
class Request:
    """An audit to be run: a record, empty or begun, and how to fill it.

    With a ``target`` nothing is measured: trials are estimated for it. ``environment`` is set
    while it runs; None removes a variable.
    """

    record: Record
    workloads: tuple[Description, ...]
    device: Device
    path: Path
    context: BaseContext
    judge: Callable[[Record], tuple[Verdict, ...]]
    target: Target | None = None
    environment: dict[str, str | None] = field(default_factory=dict)


class Progress(Protocol):
    """Told of what happens; it must be quiet between ``trial_starts`` and ``trial_ends``."""

    def proof_starts(self, workload: str, number: int, total: int) -> None:
        """A gradient proof is about to run."""

    def trial_starts(self, slot: Slot, number: int, total: int) -> None:
        """A trial is about to run."""

    def trial_ends(self, trial: Trial, left_seconds: float | None) -> None:
        """A trial is over; ``left_seconds`` forecasts the rest of the audit."""

    def ends(self) -> None:
        """No more trials."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The record as far as it goes, and why it goes no further."""

    record: Record
    stopped: str | None = None
    interrupt: BaseException | None = None


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
        self._record = request.record
        self._descriptions = {d.id: d for d in request.workloads}
        self._started = now()

    def _left(self) -> float:
        limit = self._record.plan.run_limit_seconds
        return float("inf") if limit is None else limit - (self._now() - self._started)

    def _limit(self) -> float:
        return min(self._record.plan.trial_limit_seconds, self._left())

    def _refused(self, workload: str) -> str | None:
        return self._descriptions[workload].objection(self._record.recipe)

    def proofs(self) -> str | None:
        """Fill the ledger's gradient column; returns why the audit must stop, or None."""
        if self._request.target is not None:
            return (
                None  # an estimate computes nothing, and a proof would take longer than all of it
            )
        names = [n for n in self._record.plan.workloads if not self._refused(n)]
        for number, name in enumerate(names):
            one = self._descriptions[name]
            reference = one.reference
            if reference in ("", name) and not one.accumulates:
                continue  # it is its own reference
            if self._record.ledger.get(name, LedgerRow()).gradient is not None:
                continue  # proved before the audit was interrupted
            if self._left() <= 0:
                return _OUT_OF_TIME
            self._progress.proof_starts(name, number, len(names))
            limit = self._limit()
            ending = run_child(
                self._request.context,
                proof_child,
                (address(one), reference_address(one), self._record.recipe),
                limit,
            )
            if ending.kind == "timeout" and limit < self._record.plan.trial_limit_seconds:
                return _OUT_OF_TIME  # the run's limit, not the proof's: it stays missing
            self._note_ledger(name, gradient=_proof_from(ending, reference, self._record))
        return None

    def trials(self) -> str | None:
        """Run every slot that has no trial; returns why the audit must stop, or None."""
        plan = self._record.plan
        slots = plan_rounds(plan.workloads, plan.rounds, self._record.recipe.seed)
        missing = set(self._record.missing())
        first, ran = self._now(), 0
        for number, slot in enumerate(slots):
            if (slot.round, slot.workload) not in missing:
                continue
            if self._left() <= 0:
                return _OUT_OF_TIME
            self._progress.trial_starts(slot, number, len(slots))
            trial = self._trial(slot)
            if trial is None:
                return _OUT_OF_TIME
            self._keep(trial)
            ran += 1
            left = (self._now() - first) / ran * (len(missing) - ran)
            self._progress.trial_ends(trial, left)
        return None

    def _trial(self, slot: Slot) -> Trial | None:
        description = self._descriptions[slot.workload]
        record = self._record
        evidence, device = record.evidence, self._request.device
        refusal = self._refused(slot.workload)
        if refusal:
            ending = Ending(kind="ended", messages=(), reason=refusal)
            return trial_from(ending, slot, description, record, device, evidence).trial
        sampling = Sampling()
        limit = self._limit()
        try:
            ending = self._ending(description, sampling, limit)
        finally:
            sampling.close()
        if ending.kind == "timeout" and limit < record.plan.trial_limit_seconds:
            return None  # the run's limit, not the trial's: it stays missing
        result = trial_from(
            ending, slot, description, record, device, evidence, sampling, _method(self._request)
        )
        if result.facts:
            self._note_ledger(slot.workload, facts=result.facts)
        if result.debit_bytes is not None:
            known = record.budget.debit_bytes or 0
            budget = record.budget.model_copy(
                update={"debit_bytes": max(known, result.debit_bytes)}
            )
            self._record = self._record.model_copy(update={"budget": budget})
        return result.trial

    def _ending(self, description: Description, sampling: Sampling, limit: float) -> Ending:
        request, recipe = self._request, self._record.recipe
        if request.target is not None:
            arguments = (address(description), recipe, request.target)
            return run_child(request.context, estimate_child, arguments, limit)
        return run_child(
            request.context,
            trial_child,
            (address(description), recipe, request.device, self._record.budget.limit_bytes),
            limit,
            on_message=sampling.on_message,
            tick=sampling.take if request.device == "cuda" else None,
        )

    def _note_ledger(self, workload: str, **update: object) -> None:
        row = self._record.ledger.get(workload, LedgerRow())
        if "facts" in update and row.facts:
            return
        ledger = {**self._record.ledger, workload: row.model_copy(update=update)}
        ordered = {n: ledger[n] for n in self._record.plan.workloads if n in ledger}
        self._record = self._record.model_copy(update={"ledger": ordered})

    def _keep(self, trial: Trial) -> None:
        self._record = self._record.model_copy(update={"trials": (*self._record.trials, trial)})
        save(self._record, self._request.path)

    def finish(self) -> Record:
        """Judge what there is, and store it if there is anything."""
        verdicts = self._request.judge(self._record)
        self._record = self._record.model_copy(update={"verdicts": verdicts})
        if self._record.trials:
            save(self._record, self._request.path)
        return self._record


_OUT_OF_TIME = "the run's time limit is over"


def _method(request: Request) -> str:
    return request.context.get_start_method() or ""


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
