"""From an audit to what it says about the noise of the machine that it ran on.

It is also cut into two audits of the same code: an A/A comparison, in which nothing changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median

from ffprof.analysis.speed_changes import absolute_changes, speed_changes
from ffprof.analysis.statistics.looks import LOOKS
from ffprof.analysis.statistics.noise import ProcessNoise, drift_of, noise_of, two_speeds
from ffprof.analysis.statistics.power import claims_of, smallest_changes
from ffprof.analysis.summary import rate
from ffprof.errors import NothingMeasuredError, UsageError
from ffprof.records.audit import Record, Trial
from ffprof.records.calibration import (
    ArmChange,
    CalibrationRecord,
    MachineDrift,
    Visible,
    WorkloadNoise,
)


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


FEWEST_ROUNDS = 6  # three of each arm


def calibration_of(
    record: Record,
    *,
    audit: str,
    sha256: str,
    command: str,
    workloads: Sequence[str] | None = None,
) -> CalibrationRecord:
    """The calibration that an audit makes, from an even number of its complete rounds.

    Args:
        record: a measured audit.
        audit: the name of its file, and ``sha256`` the digest of that.
        command: what the calibration was requested with.
        workloads: the rows to be used; by default all.

    Raises:
        UsageError: an estimate, or a workload that is not in it.
        NothingMeasuredError: a row that failed, or too few complete rounds.
    """
    if record.evidence == "estimated":
        raise UsageError(
            f"{audit} was estimated, not measured, and has no noise", "name a measured audit"
        )
    if any(t.outcome == "ok" and t.throughput is None for t in record.trials):
        raise UsageError(
            f"{audit} was made on a null device, which has no speeds", "name a measured audit"
        )
    names = _chosen(record, audit, workloads)
    done = {(t.round, t.workload): t for t in record.trials if t.workload in names}
    _check_outcomes(names, list(done.values()), audit)
    complete = [
        number
        for number in range(record.plan.rounds)
        if all((number, name) in done for name in names)
    ]
    used = complete[: len(complete) // 2 * 2]
    if len(used) < FEWEST_ROUNDS:
        raise NothingMeasuredError(
            f"{audit} has {len(complete)} complete rounds, and noise needs {FEWEST_ROUNDS} or more",
            f"measure more with `ffprof run --resume FILE --rounds {FEWEST_ROUNDS}`",
        )
    rates = [[rate(done[number, name]) for number in used] for name in names]
    logs = [[math.log(one) for one in row] for row in rates]
    drift = drift_of(logs)
    return CalibrationRecord(
        created=record.created,
        ffprof=record.ffprof,
        command=command,
        recipe=record.recipe,
        machine=record.machine,
        evidence=record.evidence,
        audit=audit,
        audit_sha256=sha256,
        rounds=len(used),
        claims=claims_of(len(names)),
        noise=_noise(names, rates, noise_of(logs)),
        drift=None if drift is None else MachineDrift(**asdict(drift)),
        arms=compare_arms(record, names, used),
        files=record.plan.files,
        notes=_notes(record, names, used, list(done.values())),
    )


def _chosen(record: Record, audit: str, workloads: Sequence[str] | None) -> tuple[str, ...]:
    if workloads is None:
        return record.plan.workloads
    if absent := [name for name in workloads if name not in record.plan.workloads]:
        raise UsageError(
            f"{audit} has no workload {absent[0]!r}", f"it has {', '.join(record.plan.workloads)}"
        )
    return tuple(name for name in record.plan.workloads if name in workloads)


def _check_outcomes(names: Sequence[str], trials: Sequence[Trial], audit: str) -> None:
    for name in names:
        own = [trial for trial in trials if trial.workload == name]
        failed = [trial for trial in own if trial.outcome != "ok"]
        if not failed:
            continue
        first = failed[0]
        why = f": {first.message}" if first.message else ""
        others = ",".join(other for other in names if other != name)
        raise NothingMeasuredError(
            f"{name} failed in {audit}: {first.outcome} in {len(failed)} of {len(own)} trials{why}",
            f"leave it out: `ffprof calibrate --from FILE --workloads {others}`"
            if others
            else "calibrate with another workload",
        )


def _noise(
    names: Sequence[str], rates: Sequence[Sequence[float]], found: Sequence[ProcessNoise]
) -> tuple[WorkloadNoise, ...]:
    deviations = [noise.sd for noise in found]
    shares = {look: smallest_changes(deviations, look) for look in LOOKS}
    return tuple(
        WorkloadNoise(
            workload=name,
            images_per_second=median(rates[number]),
            sd=found[number].sd,
            freedom=found[number].freedom,
            speeds=_speeds(found[number], len(names)),
            visible=tuple(
                Visible(rounds=look, share=of_all[number]) for look, of_all in shares.items()
            ),
        )
        for number, name in enumerate(names)
    )


def _speeds(noise: ProcessNoise, rows: int) -> str:
    found = two_speeds(noise.residuals)
    if found is None:
        return ""
    doubt = f" (or another row's do: {rows} rows cannot tell)" if rows in (2, 3) else ""
    return (
        f"two speeds: {found.fast} of {found.fast + found.slow} processes run about "
        f"{100 * (found.ratio - 1):.0f} % faster than the others{doubt}"
    )


def _notes(
    record: Record, names: Sequence[str], used: Sequence[int], trials: Sequence[Trial]
) -> tuple[str, ...]:
    notes = []
    if len(used) < record.plan.rounds:
        notes.append(
            f"{len(used)} of {record.plan.rounds} rounds are used: an even number, and complete"
        )
    if len(names) == 1:
        notes.append(
            "with one workload, its noise cannot be separated from the drift of the "
            "machine; calibrate two or more"
        )
    if len(names) == 2:
        notes.append("with two workloads, only their difference is known: each has half of it")
    disturbed = {
        t.workload: t.conditions.disturbances[0] for t in trials if t.conditions.disturbances
    }
    notes += [f"{name} was disturbed: {why}" for name, why in disturbed.items()]
    return tuple(note[:4000] for note in notes)
