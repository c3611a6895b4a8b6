"""An audit with further rounds at each look, while a claim on throughput is undecided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ffprof.analysis.statistics.looks import next_look
from ffprof.analysis.verdicts import undecided
from ffprof.estimator.overhead import remember
from ffprof.experiments.audit.runner import run_audit
from ffprof.experiments.campaign import Outcome, Progress
from ffprof.experiments.request import Request
from ffprof.records.audit import Record


def run_looks(
    request: Request, progress: Callable[[], Progress], *, looks: bool
) -> Outcome[Record]:
    """The audit, and with ``looks`` its further rounds; ``progress`` is made for each of them.

    Raises:
        DeviceError: the GPU is taken by others, and must not be.
    """
    outcome = run_audit(request, progress())
    while looks and not outcome.stopped and undecided(outcome.record):
        rounds = outcome.record.plan.rounds
        further = next_look(rounds)
        if further is None:
            break
        note = f"a claim on throughput was undecided after {rounds} rounds, so {further} were taken"
        record = outcome.record.model_copy(
            update={
                "plan": outcome.record.plan.model_copy(update={"rounds": further}),
                "verdicts": (),
                "notes": (*outcome.record.notes, note),
            }
        )
        outcome = run_audit(replace(request, record=record), progress())
    return outcome


def why_no_more(record: Record) -> str:
    """Why looks ended with the rounds of a record."""
    judged = [v for v in record.verdicts if v.metric == "throughput"]
    rounds = f"stopped after {record.plan.rounds} rounds"
    if not judged:
        return f"{rounds}: no claim on throughput here"
    if undecided(record):
        return f"{rounds}, the last look: a claim on throughput is undecided"
    if all(v.supported is not None for v in judged):
        return f"{rounds}: every claim on throughput is decided"
    return f"{rounds}: further rounds would decide no claim on throughput"


def remember_new(record: Record, before: Record) -> str:
    """Let later estimates know what this GPU takes in addition to the allocator; returns a note.

    Trials that a resumed audit had already were remembered when they ran.
    """
    known = {trial.id for trial in before.trials}
    new = tuple(trial for trial in record.trials if trial.id not in known)
    return remember(record.model_copy(update={"trials": new}))
