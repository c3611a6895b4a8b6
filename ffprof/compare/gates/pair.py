"""One workload of a check: what it was, what it is, and what may have become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ffprof.compare.gates.gate import GateResult, Metric, Unit
from ffprof.compare.gates.rise import Figure, told
from ffprof.compare.gates.thresholds import WorkloadThresholds
from ffprof.compare.summary import Row
from ffprof.records.audit import LedgerRow, Record, Trial


@dataclass(frozen=True, kw_only=True)
class Side:
    """One workload in one record."""

    record: Record
    row: Row

    @property
    def ledger(self) -> LedgerRow:
        """What the harness found it to be; empty if it was not looked at."""
        return self.record.ledger.get(self.row.workload, LedgerRow())

    def figure(self, value: Callable[[Trial], int | None]) -> Figure | None:
        """A figure over all trials that have figures."""
        return Figure.over(
            value(trial)
            for trial in self.record.trials
            if trial.workload == self.row.workload and (trial.outcome == "ok" or trial.memory.fit)
        )

    def unread(self, field: str) -> str:
        """Why a figure of memory could not be read; empty if nothing says so."""
        told = (
            trial.memory.unread.get(field)
            for trial in self.record.trials
            if trial.workload == self.row.workload
        )
        return next((text for text in told if text), "")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One workload before and after, both with figures, and its thresholds."""

    before: Side
    after: Side
    rules: WorkloadThresholds

    @property
    def workload(self) -> str:
        """Its id."""
        return self.after.row.workload


def not_measured(
    workload: str,
    metric: Metric,
    why: str,
    *,
    gate: bool = True,
    unit: Unit = "",
    before: Figure | None = None,
    after: Figure | None = None,
) -> GateResult:
    """A gate that has nothing to judge: it neither passed nor regressed."""
    was = f" (it was {told(before.high, unit)})" if before else ""
    if after:
        was = f" (it is {told(after.high, unit)})"
    return GateResult(
        workload=workload,
        metric=metric,
        status="not measured" if gate else "advice",
        sentence=f"{workload}: {why}{was}",
        unit=unit,
        baseline=before.high if before else None,
        current=after.high if after else None,
    )
