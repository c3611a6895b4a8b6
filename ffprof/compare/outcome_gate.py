"""The gate on outcomes, which decides whether the figures of a workload can be compared at all.

A workload that no longer fits has regressed. One that crashed, ran out of time, was refused, is
absent or has stopped learning was not measured: it neither passed nor regressed.
"""

from __future__ import annotations

from ffprof.compare.gate import GateResult, Status
from ffprof.compare.pair import not_measured
from ffprof.compare.summary import Row

_MESSAGE = 300  # characters that are told of a trial's message


def outcome_gate(before: Row, after: Row | None, *, estimated: bool) -> GateResult | str:
    """The gate; or why there is none, in words, where the baseline itself has nothing to give."""
    workload = before.workload
    if before.outcome is None or before.outcome in ("crashed", "timeout", "refused"):
        return f"{workload} is not gated: in the baseline it was {_told(before)}"
    if after is None:
        return not_measured(workload, "outcome", "it is not in this run")
    if after.outcome is None or after.outcome in ("crashed", "timeout", "refused"):
        message = f": {after.messages[0][:_MESSAGE]}" if after.messages else ""
        return not_measured(workload, "outcome", f"{_told(after)}{message}")
    lost = [mark for mark in after.marks if mark not in before.marks]
    if lost:
        return not_measured(workload, "outcome", f"its figures do not count: {lost[0]}")
    if before.outcome == "oom" and after.outcome == "oom":
        if estimated:
            return _result(workload, "passed", "still does not fit; its figures are gated")
        return f"{workload} is not gated: it ran out of memory in the baseline and still does"
    if before.outcome == "oom":
        return _result(workload, "improved", "fits now, where it ran out of memory")
    if after.outcome == "oom":
        if estimated and after.fit == "too close to call":
            return _result(workload, "inconclusive", "whether it still fits is too close to call")
        times = "" if after.settled else f" in {after.outcomes['oom']} of {after.planned} rounds"
        return _result(workload, "regressed", f"no longer fits: it runs out of memory{times}")
    close = estimated and after.fit == "too close to call"
    return _result(workload, "passed", "fits, but it is too close to call" if close else "still ok")


def comparable(before: Row, after: Row) -> bool:
    """Whether the figures of a workload whose outcomes were gated can be compared."""
    if before.fit is not None and after.fit is not None:
        return True  # an estimate has figures whether it fits or not
    return before.settled == after.settled == "ok"


def _told(row: Row) -> str:
    if row.outcome is None:
        return "not run"
    return row.outcome if row.settled else row.told_outcomes()


def _result(workload: str, status: Status, words: str) -> GateResult:
    return GateResult(
        workload=workload, metric="outcome", status=status, sentence=f"{workload}: {words}"
    )
