"""Memory and speed of all rows as ratios to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffprof.analysis.speeds import Speeds
from ffprof.analysis.summary import Row
from ffprof.errors import UsageError, did_you_mean
from ffprof.records.audit import Record
from ffprof.records.recipe import FAMILY


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """The row that all are relative to, why it is that one, and ratios by workload.

    A row without the figure is left out.
    """

    reference: str
    reason: str
    memory: dict[str, float]
    speed: dict[str, float]


def ratios_of(record: Record, rows: Sequence[Row], relative_to: str = "") -> Ratios | None:
    """Ratios to the row named, else to the smallest one of the family that claims are against.

    Returns:
        None where no row was named, and there is one alone or no claim has a baseline here.

    Raises:
        UsageError: the row named is not of this record, or has no figures.
    """
    reference, reason = _named(rows, relative_to) if relative_to else _smallest(record, rows)
    if reference is None or reference.memory is None or not reference.memory.median:
        return None
    speeds = Speeds(record, rows, 1)
    speed = {row.workload: speeds.middle(row, reference) for row in rows if row.throughput}
    return Ratios(
        reference=reference.workload,
        reason=reason,
        memory={
            row.workload: row.memory.median / reference.memory.median for row in rows if row.memory
        },
        speed={name: ratio for name, ratio in speed.items() if ratio is not None},
    )


def check_row(name: str, names: Sequence[str]) -> None:
    """What ratios are to must be a row.

    Raises:
        UsageError: it is none of these.
    """
    if name not in names:
        near = did_you_mean(name, names)
        raise UsageError(
            f"--relative-to {name}: no such row", f"{near}the rows are {', '.join(names)}"
        )


def _named(rows: Sequence[Row], name: str) -> tuple[Row, str]:
    found = {row.workload: row for row in rows}
    check_row(name, list(found))
    row = found[name]
    if row.memory is None or not row.memory.median:
        raise UsageError(
            f"--relative-to {name}: the row has no memory figure ({row.told_outcomes()})",
            "name one that was measured",
        )
    return row, ""


def _smallest(record: Record, rows: Sequence[Row]) -> tuple[Row | None, str]:
    families = {row.workload: row.family for row in rows}
    for claim in record.recipe.claims:
        family = families.get(claim.baseline, "")
        if claim.baseline.startswith(FAMILY):
            family = claim.baseline.removeprefix(FAMILY)
        members = [row for row in rows if row.family == family and row.usable and row.memory]
        if family and members and sum(row.memory is not None for row in rows) > 1:
            smallest = min(members, key=lambda row: row.memory.median if row.memory else 0.0)
            every = all(row.usable for row in rows if row.family == family)
            here = "here" if every else "here that may be compared"
            return smallest, f", the smallest row of family {family} {here}" * (len(members) > 1)
    return None, ""
