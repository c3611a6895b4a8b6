"""Records a running audit: complete as far as it goes, and on the disk."""

from __future__ import annotations

from ffprof.analysis.verdicts import judge
from ffprof.experiments.attempt import with_debit
from ffprof.experiments.outcome import TrialResult, trial_from
from ffprof.experiments.request import Request, Slot
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Failed
from ffprof.records.audit import LedgerRow, Record, Trial
from ffprof.records.store import save


class Recorder:
    """Puts trials into the record and stores it after each."""

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
        if "facts" not in update:
            save(self.record, self._request.path)  # it took a process of its own

    def keep(self, slot: Slot, ending: Ending) -> Trial:
        """Store the outcome of a slot that was not measured."""
        one, method = self.descriptions[slot.workload], self._request.context.get_start_method()
        return self.add(
            trial_from(ending, slot, one, self.record, self._request.device, None, method or "")
        )

    def refuse(self, slot: Slot, reason: str) -> Trial:
        """Store that a slot was not run."""
        failed = Failed(outcome="refused", message=reason)
        return self.keep(slot, Ending(kind="ended", messages=(failed,)))

    def add(self, result: TrialResult) -> Trial:
        """Store a trial; of one on a null device without what its kernels would have done."""
        trial = result.trial
        if self.record.machine.null_device and not self._request.keeps_speeds:
            trial = trial.model_copy(update={"throughput": None, "loss": None, "energy": None})
        if result.facts:
            self._compare(result)
            self.note(trial.workload, facts=result.facts, operators=result.operators)
        self._update(trial, trials=(*self.record.trials, trial))
        return trial

    def discard(self, trial: Trial) -> None:
        """Store a trial that is repeated; it counts for nothing."""
        self._update(trial, discarded=(*self.record.discarded, trial))

    def say(self, *notes: str) -> None:
        """Add notes, each once; they are stored with the next trial."""
        new = [note[:1000] for note in notes if note[:1000] not in self.record.notes]
        self.record = self.record.model_copy(update={"notes": (*self.record.notes, *new)})

    def finish(self) -> Record:
        """Judge what there is, and store it if there is anything."""
        self.record = self.record.model_copy(update={"verdicts": judge(self.record)})
        if self.record.trials or self.record.ledger:
            save(self.record, self._request.path)
        return self.record

    def _compare(self, result: TrialResult) -> None:
        """Operators of a row are kept from its first trial, and that others differ is noted."""
        name, found = result.trial.workload, result.operators
        known = self.record.ledger.get(name, LedgerRow()).operators
        differ = sorted(n for n in known | found if known.get(n) != found.get(n))
        if known and found and differ:
            counts = f"{differ[0]} {known.get(differ[0], 0)} and {found.get(differ[0], 0)} times"
            self.say(f"{name}: its trials do not run the same operators ({counts})")

    def _update(self, trial: Trial, **update: object) -> None:
        update["budget"] = with_debit(self.record.budget, trial.debit)
        self.record = self.record.model_copy(update=update)
        save(self.record, self._request.path)
