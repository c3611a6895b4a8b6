"""Keeps the record of a running audit: complete as far as it goes, and on the disk."""

from __future__ import annotations

from ffprof.audit.plan import Slot
from ffprof.audit.process import Ending
from ffprof.audit.request import Request
from ffprof.audit.store import save
from ffprof.audit.trials import Sampling, trial_from
from ffprof.record import LedgerRow, Record, Trial


class Keeper:
    """Turns endings into trials and stores the record after each."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.record: Record = request.record
        self.descriptions = {d.id: d for d in request.workloads}

    def refused(self, workload: str) -> str | None:
        """Why a workload cannot run under the recipe, or None."""
        return self.descriptions[workload].objection(self.record.recipe)

    def note(self, workload: str, **update: object) -> None:
        """Add facts or a proof to a row of the ledger; facts are kept from the first time."""
        row = self.record.ledger.get(workload, LedgerRow())
        if "facts" in update and row.facts:
            return
        ledger = {**self.record.ledger, workload: row.model_copy(update=update)}
        ordered = {n: ledger[n] for n in self.record.plan.workloads if n in ledger}
        self.record = self.record.model_copy(update={"ledger": ordered})

    def keep(self, slot: Slot, ending: Ending, sampling: Sampling | None = None) -> Trial:
        """Store what became of a slot; an ending without messages and with a reason is refused."""
        request = self._request
        result = trial_from(
            ending,
            slot,
            self.descriptions[slot.workload],
            self.record,
            request.device,
            self.record.evidence,
            sampling,
            request.context.get_start_method() or "",
        )
        if result.facts:
            self.note(slot.workload, facts=result.facts)
        update: dict[str, object] = {"trials": (*self.record.trials, result.trial)}
        if result.debit_bytes is not None:
            known = self.record.budget.debit_bytes or 0
            debit = {"debit_bytes": max(known, result.debit_bytes)}
            update["budget"] = self.record.budget.model_copy(update=debit)
        self.record = self.record.model_copy(update=update)
        save(self.record, request.path)
        return result.trial

    def refuse(self, slot: Slot, reason: str) -> Trial:
        """Store that a slot was not run."""
        return self.keep(slot, Ending(kind="ended", messages=(), reason=reason))

    def finish(self) -> Record:
        """Judge what there is, and store it if there is anything."""
        verdicts = self._request.judge(self.record)
        self.record = self.record.model_copy(update={"verdicts": verdicts})
        if self.record.trials:
            save(self.record, self._request.path)
        return self.record
