"""Gates on throughput: is a workload slower than it was?

What is judged first is speed relative to other workloads of the same rounds, so that a slower
runner changes nothing. An interval decides (docs/verdicts.md): a workload has regressed if all of
it lies beyond what may be lost. It passes if its ratio lies inside and the interval rules out a
loss that would matter (``SpeedFall.exclude``).
"""

from __future__ import annotations

from typing import Literal

from ffprof.compare.change import SpeedChange
from ffprof.compare.gate import GateResult, Status
from ffprof.compare.looks import LOOKS
from ffprof.compare.statistics import ZONE
from ffprof.compare.thresholds import SpeedFall

Mode = Literal["gate", "advice", "off"]


def speed_gate(
    change: SpeedChange, rule: SpeedFall, mode: Mode | None, *, advice: str = ""
) -> GateResult:
    """One gate; ``mode`` overrides the rule's own, and ``advice`` says why it is only told."""
    floor = 1 - rule.share
    status, tail = _judged(change, floor, 1 - max(rule.share, rule.exclude))
    few = min(change.rounds) < LOOKS[0]
    if mode is None and few:
        advice = advice or f"told, not judged: {few_rounds(change)}"
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
        return "inconclusive", f"there is no verdict, {change.because or few_rounds(change)}"
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


def few_rounds(change: SpeedChange) -> str:
    """Why there is no verdict on few rounds."""
    before, after = change.rounds
    plural = "" if before == 1 else "s"
    return f"{before} round{plural} before and {after} now; a verdict needs {LOOKS[0]}"


def _interval(change: SpeedChange) -> tuple[float, float] | None:
    if change.low is None or change.high is None:
        return None
    return change.low, change.high
