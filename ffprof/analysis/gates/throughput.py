"""Gates on throughput: is a workload slower than it was?

What is judged first is speed relative to other workloads of the same rounds, so that a slower
runner changes nothing; other speeds are reported, and why they are not gated. An interval decides
(docs/verdicts.md): a workload has regressed if all of it lies beyond what may be lost. It passes if
its ratio lies inside and the interval rules out a loss that would matter (``SpeedFall.exclude``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ffprof.analysis.gates.figure import not_measured
from ffprof.analysis.gates.result import GateResult, Metric, Status
from ffprof.analysis.gates.thresholds import SpeedFall, Thresholds
from ffprof.analysis.speed_changes import SpeedChange
from ffprof.analysis.statistics.intervals import ZONE
from ffprof.analysis.statistics.looks import LOOKS
from ffprof.errors import UsageError
from ffprof.records.audit import Record

Mode = Literal["gate", "advice", "off"]


def speed_gate(
    change: SpeedChange,
    rule: SpeedFall,
    mode: Mode | None,
    *,
    planned: tuple[int, int],
    advice: str = "",
) -> GateResult:
    """One gate.

    ``mode`` overrides the rule's own, and ``advice`` says why it is only reported. Too few
    planned rounds, before or now, are reported only; rounds that were planned and are missing do
    not turn a gate into advice.
    """
    floor = 1 - rule.share
    status, tail = _judged(change, floor, 1 - max(rule.share, rule.exclude))
    if mode is None and are_few(planned):
        advice = advice or f"reported, not gated: {few_rounds(planned)}"
    if mode == "advice" or (mode is None and not rule.gate):
        advice = advice or "not gated, as requested"
    if advice:
        status, tail = "advice", advice
    interval = _interval(change)
    what = "its images per second are"
    if change.relative:
        what = f"its speed relative to {change.reference} is"
    between = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return GateResult(
        workload=change.workload,
        metric="throughput" if change.relative else "absolute_throughput",
        status=status,
        sentence=f"{change.workload}: {what} {change.ratio:.3f} of the baseline's{between}; {tail}",
        unit="ratio",
        baseline=1.0,
        current=change.ratio,
        limit=floor,
        interval=interval,
    )


def _judged(change: SpeedChange, floor: float, excluded: float) -> tuple[Status, str]:
    interval = _interval(change)
    if change.finding == "ratio only" or change.because or interval is None:
        why = few_rounds(change.rounds, " have every row")
        if change.because and not are_few(change.rounds):
            why = _when(change.because)
        return "inconclusive", f"there is no verdict: {why}"
    low, high = interval
    if high < floor:
        return "regressed", f"less than {floor:.2f} is slower than allowed"
    if low > 1 / (1 - ZONE):
        return "improved", "it is faster"
    if low < excluded:
        return "inconclusive", f"to rule out less than {excluded:.2f} needs more rounds"
    if change.ratio < floor:
        return "inconclusive", f"whether it is less than {floor:.2f} needs more rounds"
    return "passed", f"less than {excluded:.2f} is ruled out"


def are_few(rounds: tuple[int, int]) -> bool:
    """Whether that many rounds before and now are too few for a verdict."""
    return min(rounds) < LOOKS[0]


def few_rounds(rounds: tuple[int, int], what: str = "") -> str:
    """Why there is no verdict on few rounds; ``what`` says which are counted."""
    before, after = rounds
    plural = "" if before == 1 else "s"
    return f"{before} round{plural} before and {after} now{what}; a verdict needs {LOOKS[0]}"


def _when(because: str) -> str:
    for short, long in (("before, ", "in the baseline "), ("after, ", "in this run ")):
        if because.startswith(short):
            return long + because.removeprefix(short)
    return because


def _interval(change: SpeedChange) -> tuple[float, float] | None:
    if change.low is None or change.high is None:
        return None
    return change.low, change.high


_NO_ROUND = "its speed cannot be compared: no round before, or none now, has every workload"


@dataclass(frozen=True, kw_only=True)
class SpeedGates:
    """The gates on throughput of all workloads, and what must be said with them."""

    gates: tuple[GateResult, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _SpeedCheck:
    """Two records whose speeds are compared, and by which rules."""

    baseline: Record
    current: Record
    compared: tuple[str, ...]
    thresholds: Thresholds
    mode: Mode | None
    marked: Mapping[str, str]

    @property
    def planned(self) -> tuple[int, int]:
        """Rounds of the two records, had or not."""
        return self.baseline.plan.rounds, self.current.plan.rounds

    def gates(self, workload: str) -> bool:
        """Whether a speed of this workload that is not known is missed."""
        if self.mode is not None:
            return self.mode == "gate"
        return not are_few(self.planned) and self.thresholds.of(workload).throughput.gate

    def gate(self, change: SpeedChange, advice: str) -> GateResult:
        """The gate on one speed; ``advice`` says why it is only reported."""
        if self.mode != "gate" and change.workload in self.marked:
            advice = (
                advice or f"reported, not gated: in the baseline {self.marked[change.workload]}"
            )
        rule = self.thresholds.of(change.workload).throughput
        return speed_gate(change, rule, self.mode, planned=self.planned, advice=advice)


def speed_check(
    baseline: Record,
    current: Record,
    compared: Sequence[str],
    *,
    thresholds: Thresholds,
    mode: Mode | None,
    machines: Sequence[str],
    marked: Mapping[str, str] | None = None,
) -> SpeedGates:
    """Gates on the throughput of the workloads in ``compared``.

    Of those in ``marked``, of which it says why they could win no claim in the baseline (they do
    not learn, they report no loss), speeds are reported and not judged.

    Raises:
        UsageError: throughput of estimates is to be judged.
    """
    if not current.timed:
        if mode == "gate":
            what = "an estimate" if current.evidence == "estimated" else "a null device"
            raise UsageError(
                f"{what} gives no verdict on throughput", "leave out --throughput gate"
            )
        return SpeedGates()
    if mode == "off":
        return SpeedGates()
    if not compared:
        return SpeedGates()
    asked = _SpeedCheck(
        baseline=baseline,
        current=current,
        compared=tuple(compared),
        thresholds=thresholds,
        mode=mode,
        marked=marked or {},
    )
    advice = _absolute_advice(current, machines)
    # All verdicts of a check together shall hold, so two kinds of speeds share the error.
    kinds = 2 if not advice and len(compared) > 1 else 1
    found = (_relative(asked, kinds), _absolute(asked, advice, kinds))
    return SpeedGates(
        gates=tuple(gate for one in found for gate in one.gates),
        notes=tuple(note for one in found for note in one.notes),
    )


def _relative(asked: _SpeedCheck, kinds: int) -> SpeedGates:
    """Gates on speeds relative to the other rows."""
    # numpy is imported with them, and most of a check needs none.
    from ffprof.analysis.speed_changes import speed_changes

    if len(asked.compared) < 2:
        why = "only one workload has figures that can be compared"
        return SpeedGates(notes=(f"relative speeds are not gated: {why}",))
    changes = _of(speed_changes(asked.baseline, asked.current, kinds=kinds), asked)
    if not changes:
        return _unknown(asked, asked.compared, "throughput", _NO_ROUND)
    notes = []
    if are_few(asked.planned) and asked.mode != "gate":
        notes.append(f"throughput is reported, not gated: {few_rounds(asked.planned)}")
    judged = {change.workload for change in changes}
    without = [name for name in asked.compared if name not in judged]
    if without:
        has = "has" if len(without) == 1 else "have"
        notes.append(
            f"speeds are relative to {changes[0].reference}, so {', '.join(without)} {has} none"
        )
    return SpeedGates(gates=tuple(asked.gate(change, "") for change in changes), notes=tuple(notes))


def _absolute(asked: _SpeedCheck, advice: str, kinds: int) -> SpeedGates:
    """Gates on images per second; ``advice`` says why they are only reported."""
    from ffprof.analysis.speed_changes import absolute_changes

    changes = _of(absolute_changes(asked.baseline, asked.current, kinds=kinds), asked)
    if not changes:
        if advice:
            return SpeedGates()
        return _unknown(asked, asked.compared, "absolute_throughput", _NO_ROUND)
    notes = (f"images per second are reported, not gated: {advice}",) if advice else ()
    return SpeedGates(gates=tuple(asked.gate(change, advice) for change in changes), notes=notes)


def _of(changes: Sequence[SpeedChange], asked: _SpeedCheck) -> tuple[SpeedChange, ...]:
    return tuple(change for change in changes if change.workload in asked.compared)


def _absolute_advice(current: Record, machines: Sequence[str]) -> str:
    """Why images per second are not judged; empty if they are: both results are of one GPU.

    A GPU's UUID is part of its fingerprint; a processor has none.
    """
    if machines:
        more = f" (and {len(machines) - 1} more)" if len(machines) > 1 else ""
        return f"the machines differ, {machines[0]}{more}"
    if current.evidence == "measured (cpu)":
        return "the name of a processor does not identify a machine"
    return ""


def _unknown(asked: _SpeedCheck, names: Sequence[str], metric: Metric, why: str) -> SpeedGates:
    return SpeedGates(
        gates=tuple(
            not_measured(name, metric, why, gate=asked.gates(name), unit="ratio") for name in names
        )
    )
