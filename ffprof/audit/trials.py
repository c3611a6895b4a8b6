"""From how a child ended to the trial in the record: every ending is an outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ffprof.audit.accept import mismatch
from ffprof.audit.messages import Failed, Finished, Ready, Report
from ffprof.audit.plan import Slot
from ffprof.audit.process import Ending
from ffprof.errors import one_line
from ffprof.instruments.nvml import NvmlError, NvmlGpu, Watch, open_gpu
from ffprof.record import (
    Conditions,
    Device,
    Evidence,
    Fact,
    Memory,
    Outcome,
    Record,
    Trial,
    is_unmatched,
)
from ffprof.workload import Description


@dataclass(kw_only=True)
class Sampling:
    """NVML peaks of one trial, taken by the parent once the child has said which GPU it uses."""

    sampler: Watch | None = None
    reason: str = "not a GPU"
    _source: NvmlGpu | None = field(default=None, repr=False)

    def on_message(self, pid: int, message: Any) -> None:
        """Start sampling at ``Ready`` with a GPU, stop at the end."""
        if isinstance(message, Ready) and message.gpu_uuid is not None:
            try:
                self._source = open_gpu(message.gpu_uuid)
                self.sampler = Watch(pid, facts=self._source.facts())
            except NvmlError as error:
                self.close()
                self.reason = str(error)
        else:
            self.close()

    def close(self) -> None:
        """Stop sampling; may be called again."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def take(self) -> None:
        """One sample, while there is something to sample."""
        if self.sampler is not None and self._source is not None:
            self.sampler.take_from(self._source)

    def add_to(self, memory: Memory) -> Memory:
        """The memory figures with NVML's peaks, or the reason why there are none."""
        if self.sampler is None:
            unread = dict.fromkeys(("process_peak_bytes", "device_peak_bytes"), self.reason)
            return memory.model_copy(update={"unread": {**memory.unread, **unread}})
        unread = {}
        if self.sampler.process_reason():
            unread["process_peak_bytes"] = self.sampler.process_reason()
        if self.sampler.device_peak_bytes is None:
            unread["device_peak_bytes"] = self.sampler.device_reason()
        return memory.model_copy(
            update={
                "process_peak_bytes": self.sampler.process_peak_bytes,
                "device_peak_bytes": self.sampler.device_peak_bytes,
                "unread": {**memory.unread, **unread},
            }
        )


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The trial, and the facts for the ledger if it was accepted."""

    trial: Trial
    facts: dict[str, Fact]
    debit_bytes: int | None = None


def trial_from(
    ending: Ending,
    slot: Slot,
    description: Description,
    record: Record,
    device: Device,
    evidence: Evidence,
    sampling: Sampling | None = None,
    start_method: str = "",
) -> TrialResult:
    """Turn an ending into a trial; an ending without messages and with a reason is a refusal."""
    sampling = sampling or Sampling()
    base = {
        "id": slot.id,
        "workload": slot.workload,
        "method": description.method,
        "schedule": description.schedule,
        "family": description.family,
        "micro_batch": description.micro_batch(record.recipe),
        "round": slot.round,
        "position": slot.position,
        "device": device,
        "evidence": evidence,
    }
    conditions = Conditions(start_method=start_method, wall_seconds=ending.seconds)
    finished = next((m for m in ending.messages if isinstance(m, Finished)), None)
    if finished is not None and ending.kind != "timeout":
        report = finished.report
        ledger = [row.facts for row in record.ledger.values() if row.facts]
        accepted = next((f for f in ledger if not is_unmatched(f)), report.facts)
        objection = mismatch(report.facts, accepted)
        if objection is None:
            trial = Trial(
                **base,
                outcome="ok",
                memory=report.memory if evidence == "estimated" else sampling.add_to(report.memory),
                throughput=report.throughput,
                loss=report.loss,
                conditions=report.conditions.model_copy(
                    update={
                        "start_method": start_method,
                        "wall_seconds": ending.seconds,
                        "nvml_samples": sampling.sampler.samples if sampling.sampler else None,
                    }
                ),
            )
            return TrialResult(trial=trial, facts=report.facts, debit_bytes=finished.debit_bytes)
        outcome: Outcome = "refused"
        message = objection
    else:
        outcome, message = _why(ending)
    estimated = _estimate_in(ending)
    memory = sampling.add_to(Memory(unread=_unread(f"the outcome is {outcome}")))
    trial = Trial(
        **base,
        outcome=outcome,
        message=one_line(message)[:1000],
        conditions=conditions,
        memory=estimated.memory if estimated else memory,
    )
    return TrialResult(trial=trial, facts=estimated.facts if estimated else {})


def _estimate_in(ending: Ending) -> Report | None:
    failed = next((m for m in ending.messages if isinstance(m, Failed)), None)
    return failed.report if failed is not None else None


def _why(ending: Ending) -> tuple[Outcome, str]:
    if ending.kind == "timeout":
        return "timeout", ending.reason
    failed = next((m for m in ending.messages if isinstance(m, Failed)), None)
    if failed is not None:
        return failed.outcome, failed.message
    if ending.kind == "crashed":
        return "crashed", ending.reason
    if not ending.messages and ending.reason:
        return "refused", ending.reason
    return "crashed", "the trial ended without an answer"


def _unread(reason: str) -> dict[str, str]:
    names = (
        "allocated_peak_bytes",
        "reserved_peak_bytes",
        "cold_allocated_peak_bytes",
        "cold_reserved_peak_bytes",
        "host_peak_bytes",
        "live_tensor_peak_bytes",
    )
    return dict.fromkeys(names, reason)
