"""Which speeds of a check are judged, which are only told, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffprof.compare.change import SpeedChange
from ffprof.compare.gate import GateResult
from ffprof.compare.looks import LOOKS
from ffprof.compare.pair import not_measured
from ffprof.compare.speed_gates import Mode, few_rounds, speed_gate
from ffprof.compare.thresholds import Thresholds
from ffprof.errors import UsageError
from ffprof.record import Record


@dataclass(frozen=True, kw_only=True)
class SpeedGates:
    """The gates on throughput of all workloads, and what must be said with them."""

    gates: tuple[GateResult, ...] = ()
    notes: tuple[str, ...] = ()


def speed_check(
    baseline: Record,
    current: Record,
    compared: Sequence[str],
    *,
    thresholds: Thresholds,
    mode: Mode | None,
    machines: Sequence[str],
) -> SpeedGates:
    """Gates on the throughput of the workloads in ``compared``.

    Raises:
        UsageError: throughput of estimates is to be judged.
    """
    if current.evidence == "estimated":
        if mode == "gate":
            raise UsageError(
                "an estimate gives no verdict on throughput", "leave out --throughput gate"
            )
        return SpeedGates()
    if mode == "off" or not compared:
        return SpeedGates()
    # numpy is imported with them, and most of a check needs none.
    from ffprof.compare.two_runs import absolute_changes, speed_changes

    reference = thresholds.throughput.reference
    lost = [name for name in reference if name not in compared]
    if lost:
        few = min(baseline.plan.rounds, current.plan.rounds) < LOOKS[0]
        return _without_reference(lost[0], compared, thresholds, mode, few=few)
    relative: tuple[SpeedChange, ...] = ()
    if len(compared) > max(1, len(set(reference))):
        relative = _of(speed_changes(baseline, current, reference), compared)
    gates = [_gate(change, thresholds, mode, advice="") for change in relative]
    notes = _notes(relative, compared, mode)
    if thresholds.throughput.absolute is not False:
        advice = _absolute_advice(thresholds, current, machines)
        changes = _of(absolute_changes(baseline, current), compared)
        gates += [_gate(change, thresholds, mode, advice=advice) for change in changes]
        if changes and advice:
            notes.append(f"images per second are told, not judged: {advice}")
    return SpeedGates(gates=tuple(gates), notes=tuple(notes))


def _of(changes: Sequence[SpeedChange], compared: Sequence[str]) -> tuple[SpeedChange, ...]:
    return tuple(change for change in changes if change.workload in compared)


def _gate(
    change: SpeedChange,
    thresholds: Thresholds,
    mode: Mode | None,
    *,
    advice: str,
) -> GateResult:
    rule = thresholds.of(change.workload).throughput
    if mode != "gate" and change.because.startswith("before, "):
        advice = advice or f"no verdict, because {change.because}"
    return speed_gate(change, rule, mode, advice=advice)


def _absolute_advice(thresholds: Thresholds, current: Record, machines: Sequence[str]) -> str:
    """Why images per second are not judged; empty if they are."""
    if machines:
        more = f" (and {len(machines) - 1} more)" if len(machines) > 1 else ""
        return f"the machines differ, {machines[0]}{more}"
    if thresholds.throughput.absolute is None and current.evidence == "measured (cpu)":
        return (
            "the name of a processor does not tell one machine from another (absolute = true "
            "judges them)"
        )
    return ""


def _without_reference(
    lost: str,
    compared: Sequence[str],
    thresholds: Thresholds,
    mode: Mode | None,
    *,
    few: bool,
) -> SpeedGates:
    why = f"its speed has no reference: the figures of {lost} cannot be compared"
    return SpeedGates(
        gates=tuple(
            not_measured(
                name,
                "throughput",
                why,
                gate=mode == "gate"
                or (mode is None and not few and thresholds.of(name).throughput.gate),
                unit="ratio",
            )
            for name in compared
            if name not in thresholds.throughput.reference
        )
    )


def _notes(
    relative: Sequence[SpeedChange], compared: Sequence[str], mode: Mode | None
) -> list[str]:
    if not relative:
        return ["relative speeds are not judged: there are not two workloads with common rounds"]
    found = []
    few = min(relative[0].rounds)
    if few < LOOKS[0] and mode != "gate":
        found.append(f"throughput is told, not judged: {few_rounds(relative[0])}")
    judged = {change.workload for change in relative}
    without = [name for name in compared if name not in judged]
    if without:
        found.append(
            f"speeds are relative to {relative[0].reference}, so {', '.join(without)} has none"
        )
    return found
