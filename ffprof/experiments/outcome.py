"""From how a child ended to the trial in the record: every ending is an outcome.

A row stands in the table only if it matches the others in everything that the recipe fixes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ffprof.errors import one_line
from ffprof.experiments.request import Slot
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Failed, Finished, Report
from ffprof.harness.process.monitor import OTHERS, Watching
from ffprof.records.audit import (
    SHARED,
    Conditions,
    Debit,
    Device,
    Fact,
    Memory,
    Record,
    Trial,
    is_limited,
    is_unmatched,
)
from ffprof.records.plausibility import plausible_trial
from ffprof.records.redaction import recorded
from ffprof.units import format_bytes
from ffprof.workload import Description

# What the recipe fixes: a row that differs from the others here is refused.
FIXED = (
    "effective_batch",
    "norm",
    "precision",
    "parameter_dtypes",
    "memory_format",
    "optimizer",
    "threads",
    "default_dtype",
    "tf32_matmul",
    "tf32_cudnn",
    "cudnn_benchmark",
    "deterministic",
    "allocator_conf",
)


def mismatch(facts: Mapping[str, Fact], others: Mapping[str, Fact]) -> str | None:
    """The first fact fixed by the recipe in which a row differs from an accepted one.

    A row of which nothing is matched has nothing that could differ; its facts say so.
    """
    if is_unmatched(facts) or is_unmatched(others):
        return None
    for name in FIXED:
        if facts.get(name) != others.get(name):
            return f"{name} is {facts.get(name)!r}, other rows have {others.get(name)!r}"
    if facts.get("backbone") == others.get("backbone") == SHARED:
        ours, theirs = facts.get("backbone_digest"), others.get("backbone_digest")
        if ours != theirs:
            return f"its backbone starts from {ours}, that of other rows from {theirs}"
    return None


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The trial, and for the ledger facts and operators if it was accepted."""

    trial: Trial
    facts: dict[str, Fact]
    operators: dict[str, int] = field(default_factory=dict)


def trial_from(
    ending: Ending,
    slot: Slot,
    description: Description,
    record: Record,
    device: Device,
    watching: Watching | None = None,
    start_method: str = "",
    attempt: int = 0,
) -> TrialResult:
    """Turn an ending into a trial."""
    watching = watching or Watching()
    base = {
        "id": slot.id,
        "workload": slot.workload,
        "method": description.method,
        "schedule": description.schedule,
        "family": description.family,
        "micro_batch": description.micro_batch(record.recipe),
        "round": slot.round,
        "position": slot.position,
        "attempt": attempt,
        "device": device,
        "evidence": record.evidence,
    }
    conditions = Conditions(start_method=start_method, wall_seconds=ending.seconds)
    found = ending.answer(Finished)
    debit = _debit(found.debit, watching, record)
    report: Report | None
    if isinstance(found, Finished):
        report, estimated = found.report, record.evidence == "estimated"
        ledger = [row.facts for row in record.ledger.values() if row.facts]
        accepted = next((f for f in ledger if not is_unmatched(f)), report.facts)
        objection = mismatch(report.facts, accepted)
        if objection is None:
            trial = Trial(
                **base,
                outcome="ok",
                memory=report.memory if estimated else watching.memory(report.memory),
                throughput=report.throughput,
                loss=report.loss,
                energy=watching.energy(),
                debit=debit,
                conditions=_spoilt(
                    watching.add_to(
                        report.conditions.model_copy(
                            update={"start_method": start_method, "wall_seconds": ending.seconds}
                        )
                    ),
                    debit,
                ),
            )
            trial = plausible_trial(trial, report.facts, record.recipe.batch, record.machine)
            return TrialResult(trial=trial, facts=report.facts, operators=report.operators)
        found = Failed(outcome="refused", message=objection)
    outcome, message = found.outcome, found.message
    if found.others and outcome == "oom":
        # It says nothing of the workload, so it must not stand as memory that does not suffice.
        outcome, message = "crashed", f"{OTHERS}: {message}"
    report = found.report
    memory = watching.memory(Memory(unread=_unread(f"the outcome is {outcome}")))
    trial = Trial(
        **base,
        outcome=outcome,
        message=recorded(one_line(message), 1000),
        debit=debit,
        conditions=_spoilt(watching.add_to(conditions), debit, others=found.others),
        memory=report.memory if report else memory,
    )
    if report is None:
        return TrialResult(trial=trial, facts={})
    return TrialResult(trial=trial, facts=report.facts, operators=report.operators)


def _debit(found: Debit | None, watching: Watching, record: Record) -> Debit | None:
    """What the child read, with what NVML saw of the process beyond the card it stands for."""
    total, peak = record.budget.total_bytes, watching.process_peak_bytes
    limited = is_limited(record.budget, record.evidence)
    if found is None or not limited or total is None or peak is None:
        return found
    beyond = peak - (total - record.budget.display_bytes)
    return found.model_copy(update={"exceeded_bytes": max(found.exceeded_bytes, beyond)})


def _spoilt(conditions: Conditions, debit: Debit | None, *, others: bool = False) -> Conditions:
    """With what spoils figures in addition to what NVML saw.

    That is a process that went beyond the card's memory, and others who had taken memory.
    """
    told = ["memory ran out because of other processes on the GPU"] if others else []
    if debit is not None and debit.exceeded_bytes:
        told.append(f"the process took {format_bytes(debit.exceeded_bytes)} more than the card has")
    if not told:
        return conditions
    return conditions.model_copy(update={"disturbances": (*conditions.disturbances, *told)})


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
