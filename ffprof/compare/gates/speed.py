"""Gates on throughput: is a workload slower than it was?

What is judged first is speed relative to other workloads of the same rounds, so that a slower
runner changes nothing. An interval decides (docs/verdicts.md): a workload has regressed if all of
it lies beyond what may be lost. It passes if its ratio lies inside and the interval rules out a
loss that would matter (``SpeedFall.exclude``).
"""

from __future__ import annotations

from typing import Literal

from ffprof.compare.change import SpeedChange
from ffprof.compare.gates.gate import GateResult, Status
from ffprof.compare.gates.thresholds import SpeedFall
from ffprof.compare.looks import LOOKS
from ffprof.compare.statistics import ZONE

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

    ``mode`` overrides the rule's own, and ``advice`` says why it is only told. Whoever planned too
    few rounds, before or now, for a verdict is told; rounds that were planned and are not there
    make no advice of a gate.
    """
    floor = 1 - rule.share
    status, tail = _judged(change, floor, 1 - max(rule.share, rule.exclude))
    if mode is None and are_few(planned):
        advice = advice or f"told, not judged: {few_rounds(planned)}"
    if mode == "advice" or (mode is None and not rule.gate):
        advice = advice or "not judged, as was asked for"
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
        return "regressed", f"less than {floor:.2f} is slower than may be"
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
