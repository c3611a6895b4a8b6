"""Runs an audit: gradient proofs, then rounds of trials, each in a process of its own.

After every trial the record is complete as far as it goes and lies on the disk; what is missing
can be read off it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ffprof.errors import one_line
from ffprof.experiments.attempt import Attempts, Debits, Retakes
from ffprof.experiments.audit.estimates import run_estimates
from ffprof.experiments.audit.recorder import Recorder
from ffprof.experiments.campaign import Campaign, Outcome, Progress, trial_line
from ffprof.experiments.request import Request, Slot, plan_rounds
from ffprof.harness.process.child import Ending, run_child
from ffprof.harness.process.guard import Guard
from ffprof.harness.worker import proof_child
from ffprof.records.audit import GradientProof, LedgerRow, Record, Trial, is_limited
from ffprof.workload.user_file import address, reference_address


def run_audit(
    request: Request,
    progress: Progress,
    now: Callable[[], float] = time.monotonic,
    guard: Guard | None = None,
) -> Outcome[Record]:
    """Run what is missing of the plan; the record on the disk is current after each trial.

    Raises:
        DeviceError: the GPU is taken by others, and must not be.
    """
    measured = request.device == "cuda" and request.target is None
    uuid = request.record.machine.gpu_uuid if measured else None
    guard = guard or Guard(uuid, request.on_foreign, say=progress.says)
    campaign = Campaign(progress, guard, request.record.plan.run_limit_seconds, now)
    run = _Run(request, campaign)
    stopped, interrupt = campaign.run(request.environment, run.work)
    return Outcome(record=run.recorder.finish(), stopped=stopped, interrupt=interrupt)


class _Run:
    def __init__(self, request: Request, campaign: Campaign) -> None:
        self._request, self._campaign = request, campaign
        self.recorder = Recorder(request)
        plan = request.record.plan
        self._limit = plan.trial_limit_seconds
        self._slots = plan_rounds(plan.workloads, plan.rounds, request.record.recipe.seed)
        self._attempts = Attempts(
            campaign=campaign,
            context=request.context,
            device=request.device,
            retakes=Retakes(len(self._slots), len(request.record.discarded)),
            debits=Debits.of(request.record),
        )

    def work(self, notes: tuple[str, ...]) -> None:
        """Everything that is missing.

        Raises:
            StoppedError: the run goes no further.
        """
        self.recorder.say(*notes)
        if self._request.target is not None:
            # Proofs would take longer than the whole estimate.
            run_estimates(self.recorder, self._request, self._missing(), self._campaign)
            return
        self._prove()
        self._uncap()
        self._measure()

    def _rows(self) -> Iterator[tuple[str, LedgerRow, int, int]]:
        """Names of workloads that run, with their rows of the ledger, and how many of how many."""
        names = [n for n in self._request.record.plan.workloads if not self.recorder.refused(n)]
        for number, name in enumerate(names):
            row = self.recorder.record.ledger.get(name, LedgerRow())
            yield name, row, number, len(names)

    def _prove(self) -> None:
        """Fill the ledger's gradient column, as far as it is not filled already."""
        for name, row, number, total in self._rows():
            one = self.recorder.descriptions[name]
            reference, recipe = one.reference, self.recorder.record.recipe
            if reference in ("", name) and not one.accumulates:
                continue  # it is its own reference
            if row.gradient is not None:
                continue
            limit = self._campaign.limit(self._limit)
            self._campaign.progress.starts(f"checking gradients of {name}", number, total)
            arguments = (address(one), reference_address(one), recipe)
            ending = run_child(self._request.context, proof_child, arguments, limit)
            self._campaign.charge(ending.kind == "timeout", limit, self._limit)
            proof = _proof_from(ending, reference, self.recorder.record)
            self.recorder.note(name, gradient=proof)

    def _uncap(self) -> None:
        """Where a card is emulated, see what rows take without it, unless it is known."""
        if not is_limited(self.recorder.record.budget, self.recorder.record.evidence):
            return
        for name, row, number, total in self._rows():
            if row.uncapped is not None:
                continue
            self._campaign.admit()
            self._campaign.progress.starts(f"memory without a limit of {name}", number, total)
            one = self.recorder.descriptions[name]
            found = self._attempts.uncapped(one, self.recorder.record, self._limit)
            if found is not None:
                self.recorder.note(name, uncapped=found)

    def _missing(self) -> list[Slot]:
        missing = set(self._request.record.missing())
        return [slot for slot in self._slots if (slot.round, slot.workload) in missing]

    def _measure(self) -> None:
        """Run every slot that has no trial."""
        campaign, wanted = self._campaign, self._missing()
        before, first = len(self._slots) - len(wanted), campaign.now()
        for number, slot in enumerate(wanted):
            campaign.admit()
            text = f"round {slot.round + 1} {slot.workload}"
            campaign.progress.starts(text, before + number, len(self._slots))
            trial = self._trial(slot)
            left = (campaign.now() - first) / (number + 1) * (len(wanted) - number - 1)
            campaign.progress.ends(trial_line(trial), left)

    def _trial(self, slot: Slot) -> Trial:
        recorder = self.recorder
        refusal = recorder.refused(slot.workload)
        if refusal:
            return recorder.refuse(slot, refusal)
        one = recorder.descriptions[slot.workload]
        return recorder.add(
            self._attempts.settled(one, slot, recorder.record, self._limit, recorder.discard)
        )


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
