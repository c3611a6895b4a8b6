"""The gate on outcomes, which decides whether the figures of a workload can be compared at all.

A workload that was always ok and runs out of memory in any round has regressed, whatever its
other rounds did. One that crashed, ran out of time, was refused, is absent or has stopped learning
was not measured: it neither passed nor regressed. Where rounds of the baseline disagree whether it
fits, or rounds of now are missing, the answer is open.
"""

from __future__ import annotations

from ffprof.analysis.gates.figure import not_measured
from ffprof.analysis.gates.result import GateResult, Status
from ffprof.analysis.summary import Row

_MESSAGE = 300  # characters that are told of a trial's message
_BAD = ("crashed", "timeout", "refused")
_WAS = {
    "crashed": "it crashed",
    "timeout": "it ran into its time limit (timeout)",
    "refused": "it was refused",
}


def outcome_gate(before: Row, after: Row | None, *, estimated: bool) -> GateResult | str:
    """The gate; or why there is none, in words, where the baseline itself has nothing to give."""
    workload = before.workload
    if before.outcome is None or before.outcome in _BAD:
        return f"{workload} is not gated: in the baseline {_was(before)}"
    if after is None:
        return not_measured(workload, "outcome", "it is not in this run")
    full = not estimated and "oom" in after.outcomes and "refused" not in after.outcomes
    if after.outcome is None or (after.outcome in _BAD and not full):
        message = f": {after.messages[0][:_MESSAGE]}" if after.messages else ""
        return not_measured(workload, "outcome", f"{_told(after)}{message}")
    lost = [mark for mark in after.marks if mark not in before.marks]
    if lost and not full:
        return not_measured(workload, "outcome", f"its figures do not count: {lost[0]}")
    if estimated:
        return _estimated(before, after)
    if before.settled is None:
        now = f"now {_told(after)}"
        return _result(
            workload,
            "inconclusive",
            f"whether it fits was not certain in the baseline ({_told(before)}; {now})",
        )
    if before.settled == "oom" and full:
        return f"{workload} is not gated: it ran out of memory in the baseline and still does" + (
            "" if after.settled else f" ({_told(after)})"
        )
    if full:
        times = "" if after.settled else f" ({_told(after)})"
        return _result(workload, "regressed", f"no longer fits: it runs out of memory{times}")
    ran = sum(after.outcomes.values())
    if ran < after.planned:
        return _result(
            workload, "inconclusive", f"ok, but only {ran} of its {after.planned} rounds were run"
        )
    if before.settled == "oom":
        return _result(workload, "improved", "fits now, where it ran out of memory")
    return _result(workload, "passed", "still ok")


def _estimated(before: Row, after: Row) -> GateResult | str:
    """Of an estimate, whose figures are gated whether it fits or not."""
    workload, close = before.workload, after.fit == "too close to call"
    if before.outcome == after.outcome == "oom":
        if before.fit is None or after.fit is None:
            return f"{workload} is not gated: it has no estimate but that it does not fit"
        return _result(workload, "passed", "still does not fit; its figures are gated")
    if before.outcome == "oom":
        return _result(workload, "improved", "fits now, where it ran out of memory")
    if after.outcome == "oom" and close:
        return _result(workload, "inconclusive", "whether it still fits is too close to call")
    if after.outcome == "oom":
        return _result(workload, "regressed", "no longer fits: it runs out of memory")
    return _result(workload, "passed", "fits, but it is too close to call" if close else "still ok")


def comparable(before: Row, after: Row) -> bool:
    """Whether the figures of a workload whose outcomes were gated can be compared."""
    if before.fit is not None and after.fit is not None:
        return True  # an estimate has figures whether it fits or not
    return before.settled == after.settled == "ok"


def _was(row: Row) -> str:
    if row.outcome is None:
        return "it was not run"
    return _WAS[row.outcome] if row.settled else f"its rounds were {row.told_outcomes()}"


def _told(row: Row) -> str:
    if row.outcome is None:
        return "not run"
    return row.outcome if row.settled else row.told_outcomes()


def _result(workload: str, status: Status, words: str) -> GateResult:
    return GateResult(
        workload=workload, metric="outcome", status=status, sentence=f"{workload}: {words}"
    )
