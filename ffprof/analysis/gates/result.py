"""What a check finds: one result for every gate, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ffprof.errors import UnmeasuredError
from ffprof.records.audit import Record

Status = Literal["regressed", "inconclusive", "not measured", "improved", "advice", "passed"]
Metric = Literal[
    "outcome",
    "allocated",
    "reserved",
    "live",
    "useful_flops",
    "recomputed_flops",
    "operators",
    "budget",
    "throughput",
    "absolute_throughput",
]
Unit = Literal["bytes", "FLOPs", "operators", "ratio", ""]

STATUSES: tuple[Status, ...] = (
    "regressed", "inconclusive", "not measured", "improved", "advice", "passed",
)  # fmt: skip
_JUDGED: tuple[Status, ...] = ("regressed", "inconclusive", "improved", "passed")


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One metric of one workload, held against the baseline.

    ``baseline`` and ``current`` are in ``unit``, the highest over all rounds; ``limit`` is the
    most that ``current`` may be, for speeds the least. ``interval`` is that of a ratio of speeds.
    What is not known is None. ``sentence`` says all of it, and stands alone.
    """

    workload: str
    metric: Metric
    status: Status
    sentence: str
    unit: Unit = ""
    baseline: int | float | None = None
    current: int | float | None = None
    limit: int | float | None = None
    interval: tuple[float, float] | None = None

    @property
    def ratio(self) -> float | None:
        """Current as a multiple of the baseline; None where that means nothing."""
        if not self.baseline or self.current is None:
            return None
        return self.current / self.baseline


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """All gates of one baseline, workloads that it does not have, and what else must be said.

    ``missing`` trials were planned for the new result and are not in it. ``alarms`` say that one
    of the files was changed since it was written: then nothing passes.
    """

    gates: tuple[GateResult, ...]
    new: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing: int = 0
    alarms: tuple[str, ...] = ()

    def having(self, *statuses: Status) -> tuple[GateResult, ...]:
        """The gates with one of these statuses, in their order."""
        return tuple(gate for gate in self.gates if gate.status in statuses)

    @property
    def judged(self) -> bool:
        """Whether it judged anything: that a workload still runs says nothing of its figures."""
        return any(
            gate.status in _JUDGED and (gate.metric, gate.status) != ("outcome", "passed")
            for gate in self.gates
        )


def exit_code(results: Sequence[CheckResult]) -> int:
    """1: something regressed; 3: nothing was judged; 4: something is open; else 0."""
    statuses = {gate.status for result in results for gate in result.gates}
    if "regressed" in statuses:
        return 1
    if not any(result.judged for result in results):
        return 3
    if any(result.alarms or result.missing or not result.judged for result in results):
        return 4
    return 4 if statuses & {"inconclusive", "not measured"} else 0


def counts(gates: Iterable[GateResult]) -> dict[Status, int]:
    """How many gates have each status; all statuses are there, in the order of their weight."""
    found = [gate.status for gate in gates]
    return {status: found.count(status) for status in STATUSES}


FINDINGS = {0: "passed", 1: "regressed", 3: "nothing was judged", 4: "inconclusive"}
NOT_MEASURED = "not measured"  # 4, too: neither passed nor regressed


@dataclass(frozen=True, kw_only=True)
class BaselineCheck:
    """One baseline and what was held against it; ``baseline`` is None if there was none yet.

    ``updated`` says that the baseline's file now holds the new result, ``refused`` why it does not
    although that was requested. ``options`` are those of the command line that the same check needs
    again.
    """

    baseline_file: str
    current_file: str
    baseline: Record | None
    current: Record
    result: CheckResult
    updated: bool = False
    options: tuple[str, ...] = ()
    refused: UnmeasuredError | None = None

    @property
    def finding(self) -> str:
        """What this baseline's check came to, in words."""
        if self.baseline is None:
            return "baseline not made" if self.refused else "baseline made"
        found = finding_of([self.result])
        return f"{found}, and accepted" if self.updated and found != FINDINGS[0] else found


def finding_of(results: Sequence[CheckResult]) -> str:
    """What checks came to, in words; where nothing is open but what was not measured, that."""
    code = exit_code(results)
    if code == 4 and not any(
        result.having("inconclusive") or result.missing or result.alarms for result in results
    ):
        return NOT_MEASURED
    return FINDINGS[code]
