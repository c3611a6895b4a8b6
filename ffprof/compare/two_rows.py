"""Two workloads of one record against each other, whatever its recipe claims."""

from __future__ import annotations

from typing import Literal

from ffprof.compare.verdicts import judge
from ffprof.errors import UsageError
from ffprof.records.audit import Record
from ffprof.records.recipe import Claim, Metric

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
    # Judged beside the audit's own claims, so that one more question has its part of the error.
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
