"""Two workloads of one record against each other, whatever its recipe claims."""

from __future__ import annotations

from ffprof.compare.verdicts import judge
from ffprof.errors import UsageError
from ffprof.recipe import Claim
from ffprof.record import Record


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
    claims = (
        Claim(
            id="memory", challenger=challenger, baseline=baseline, metric="memory",
            direction="lower",
        ),
        Claim(
            id="throughput", challenger=challenger, baseline=baseline, metric="throughput",
            direction="at_least",
        ),
    )  # fmt: skip
    recipe = record.recipe.model_copy(update={"claims": claims})
    names = (challenger, baseline)
    return record.model_copy(
        update={
            "recipe": recipe.model_copy(update={"references": ()}),
            "plan": record.plan.model_copy(update={"workloads": names}),
            "trials": tuple(t for t in record.trials if t.workload in names),
            "discarded": tuple(t for t in record.discarded if t.workload in names),
            "ledger": {n: record.ledger[n] for n in names if n in record.ledger},
            "verdicts": judge(record.model_copy(update={"recipe": recipe})),
        }
    )
