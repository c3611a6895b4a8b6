"""What a step computes, as far as it is counted: FLOPs and operators, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ffprof.records.audit import LedgerRow

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
