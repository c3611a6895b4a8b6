"""Two records of one recipe, row by row: what became of memory and of speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffprof.compare.change import SpeedChange
from ffprof.compare.counts import CountChange, flops_changes, operator_changes
from ffprof.compare.memory_verdict import memory_finding
from ffprof.compare.recipes import recipe_differences
from ffprof.compare.summary import Row, Spread, summarise
from ffprof.compare.two_runs import absolute_changes, speed_changes
from ffprof.errors import UsageError
from ffprof.records.audit import Finding, LedgerRow, Record


@dataclass(frozen=True, kw_only=True)
class MemoryChange:
    """A peak in bytes, before and after, over all rounds.

    ``finding`` is exact where peaks repeat: any byte more is higher.
    """

    before: Spread
    after: Spread
    finding: Finding

    @property
    def ratio(self) -> float | None:
        """After as a multiple of before; None of nothing."""
        return self.after.median / self.before.median if self.before.median else None


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One workload of both records. What one of them does not have is None."""

    workload: str
    before: Row
    after: Row
    memory: MemoryChange | None
    reserved: MemoryChange | None
    relative: SpeedChange | None
    absolute: SpeedChange | None
    flops: tuple[CountChange, ...] = ()
    operators: tuple[CountChange, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All workloads of both records, and those of one only."""

    before: Record
    after: Record
    rows: tuple[ComparedRow, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


def compare_records(before: Record, after: Record, reference: Sequence[str] = ()) -> Comparison:
    """What became of every workload.

    Raises:
        UsageError: the records are of different recipes or kinds of evidence, or have no workload
            in common, or a reference is not ok in both.
    """
    differing = recipe_differences(before.recipe, after.recipe)
    if differing:
        raise UsageError(
            f"the two recipes differ: {'; '.join(differing)}",
            "compare records of one recipe",
        )
    if before.evidence != after.evidence:
        raise UsageError(
            f"one record is {before.evidence} and the other {after.evidence}",
            "compare records of one kind of evidence",
        )
    old = {row.workload: row for row in summarise(before)}
    new = {row.workload: row for row in summarise(after)}
    common = [name for name in old if name in new]
    if not common:
        raise UsageError("the two records have no workload in common", "name others")
    records = (before, after)
    relative = {c.workload: c for c in speed_changes(before, after, reference)}
    absolute = {c.workload: c for c in absolute_changes(before, after)}
    return Comparison(
        before=before,
        after=after,
        rows=tuple(
            ComparedRow(
                workload=name,
                before=old[name],
                after=new[name],
                memory=_change(old[name].memory, new[name].memory),
                reserved=_change(old[name].reserved, new[name].reserved),
                relative=relative.get(name),
                absolute=absolute.get(name),
                flops=flops_changes(*(r.ledger.get(name, LedgerRow()) for r in records)),
                operators=operator_changes(
                    *(r.ledger.get(name, LedgerRow()).operators for r in records)
                ),
            )
            for name in common
        ),
        only_before=tuple(name for name in old if name not in new),
        only_after=tuple(name for name in new if name not in old),
    )


def _change(before: Spread | None, after: Spread | None) -> MemoryChange | None:
    if before is None or after is None:
        return None
    return MemoryChange(before=before, after=after, finding=memory_finding(after, before, 0.0))
