"""Two records of one recipe, row by row, or two rows of one record: how memory and speed differ.

Besides, what a step computes (FLOPs and operators, before and after), and what more rounds would
show by the record's own noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from ffprof.analysis.ledger import recipe_differences
from ffprof.analysis.speed_changes import SpeedChange, absolute_changes, speed_changes
from ffprof.analysis.speeds import rates_of
from ffprof.analysis.statistics.looks import LOOKS
from ffprof.analysis.statistics.noise import noise_of
from ffprof.analysis.statistics.power import smallest_changes
from ffprof.analysis.summary import Row, Spread, summarise
from ffprof.analysis.verdicts import judge, memory_finding
from ffprof.errors import UsageError
from ffprof.records.audit import Finding, LedgerRow, Record
from ffprof.records.recipe import Claim, Metric
from ffprof.records.store import same_content

FLOPS = ("useful_flops", "recomputed_flops")


@dataclass(frozen=True, kw_only=True)
class CountChange:
    """One count of a step, before and after.

    ``name`` is that of a kind of FLOPs, or of an operator.
    """

    name: str
    before: int
    after: int

    @property
    def more(self) -> int:
        """What there is more of after; negative if less."""
        return self.after - self.before


def flops_changes(before: LedgerRow, after: LedgerRow) -> tuple[CountChange, ...]:
    """The kinds of FLOPs that are known of both and differ."""
    pairs = [(name, _count(before, name), _count(after, name)) for name in FLOPS]
    return tuple(
        CountChange(name=name, before=old, after=new)
        for name, old, new in pairs
        if old is not None and new is not None and old != new
    )


def operator_changes(
    before: Mapping[str, int], after: Mapping[str, int]
) -> tuple[CountChange, ...]:
    """The operators whose numbers differ, the largest differences first; none if not counted."""
    if not before or not after:
        return ()
    names = sorted(before.keys() | after.keys())
    changes = [
        CountChange(name=name, before=before.get(name, 0), after=after.get(name, 0))
        for name in names
        if before.get(name, 0) != after.get(name, 0)
    ]
    return tuple(sorted(changes, key=lambda c: -abs(c.more)))


def _count(row: LedgerRow, name: str) -> int | None:
    value = row.facts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


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
    same: bool = False  # both are one result: nothing can differ, speeds neither


def compare_records(before: Record, after: Record) -> Comparison:
    """What happened to every workload.

    Raises:
        UsageError: the records are of different recipes or kinds of evidence, or have no workload
            in common.
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
    same = same_content(before, after)
    relative, absolute = (
        {c.workload: replace(c, finding="same", because="") if same else c for c in changes}
        for changes in (speed_changes(before, after), absolute_changes(before, after))
    )
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
        same=same,
    )


def _change(before: Spread | None, after: Spread | None) -> MemoryChange | None:
    if before is None or after is None:
        return None
    return MemoryChange(before=before, after=after, finding=memory_finding(after, before, 0.0))


FEWEST_ROUNDS = 3  # a standard deviation of two is no more than their difference


def smallest_visible(record: Record, workloads: Sequence[str]) -> dict[int, float]:
    """By look, in rounds: the least loss of speed that a comparison finds in 19 of 20 cases.

    In the median of these workloads, by the noise of their own rounds; empty where they have too
    few. As ``compare.visible.smallest_changes``.
    """
    rows = [row for row in summarise(record) if row.workload in workloads and row.throughput]
    rates = rates_of(record, [row for row in rows if row.settled == "ok"])
    if not rates.rows or rates.rounds < FEWEST_ROUNDS:
        return {}
    deviations = [noise.sd for noise in noise_of(rates.logs)]
    return {look: median(smallest_changes(deviations, look)) for look in LOOKS}


_DIRECTIONS: tuple[tuple[Metric, Literal["lower", "at_least"]], ...] = (
    ("memory", "lower"),
    ("throughput", "at_least"),
)


def two_rows(record: Record, challenger: str, baseline: str) -> Record:
    """The record with these two rows only, and the verdicts on the first against the second.

    What the other rows know of the machine's noise still counts.

    Raises:
        UsageError: a row is not there, or it is the same twice.
    """
    for name in (challenger, baseline):
        if name not in record.plan.workloads:
            raise UsageError(
                f"there is no workload {name[:100]!r} in the record",
                f"it has {', '.join(record.plan.workloads)}",
            )
    if challenger == baseline:
        raise UsageError(f"{challenger} is given twice", "name two workloads")
    asked = tuple(
        Claim(id=metric, challenger=challenger, baseline=baseline, metric=metric, direction=way)
        for metric, way in _DIRECTIONS
    )
    # Judged in addition to the audit's own claims, so one more question has its part of the
    # error.
    others = tuple(
        c
        for c in record.recipe.claims
        if (c.challenger, c.baseline) != (challenger, baseline) and c.id not in dict(_DIRECTIONS)
    )
    recipe = record.recipe.model_copy(update={"claims": (*others, *asked)})
    judged = judge(record.model_copy(update={"recipe": recipe}))
    names = (challenger, baseline)
    return record.model_copy(
        update={
            "recipe": recipe.model_copy(update={"claims": asked, "references": ()}),
            "plan": record.plan.model_copy(update={"workloads": names}),
            "trials": tuple(t for t in record.trials if t.workload in names),
            "discarded": tuple(t for t in record.discarded if t.workload in names),
            "ledger": {n: record.ledger[n] for n in names if n in record.ledger},
            "verdicts": tuple(v for v in judged if v.claim in dict(_DIRECTIONS)),
        }
    )
