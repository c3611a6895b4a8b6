"""An audit cut into two audits of the same code: an A/A comparison, in which nothing changed."""

from __future__ import annotations

from collections.abc import Sequence

from ffprof.compare.two_runs import absolute_changes, speed_changes
from ffprof.records.audit import Record
from ffprof.records.calibration import ArmChange


def compare_arms(
    record: Record, names: Sequence[str], rounds: Sequence[int]
) -> tuple[ArmChange, ...]:
    """Whether every other one of ``rounds`` seems faster or slower than those between.

    Judged as two runs would be (``compare.two_runs``); one workload alone by its images per second.
    """
    one, other = (_arm(record, names, rounds[first::2]) for first in (0, 1))
    changes = speed_changes(one, other) if len(names) > 1 else absolute_changes(one, other)
    return tuple(
        ArmChange(
            workload=change.workload,
            ratio=change.ratio,
            low=change.low,
            high=change.high,
            finding=change.finding,
            because=change.because,
        )
        for change in changes
    )


def _arm(record: Record, names: Sequence[str], rounds: Sequence[int]) -> Record:
    """The audit of these rounds alone."""
    places = {number: place for place, number in enumerate(rounds)}
    trials = tuple(
        trial.model_copy(update={"round": places[trial.round]})
        for trial in record.trials
        if trial.round in places and trial.workload in names
    )
    plan = record.plan.model_copy(update={"workloads": tuple(names), "rounds": len(rounds)})
    return record.model_copy(update={"trials": trials, "plan": plan, "discarded": ()})
