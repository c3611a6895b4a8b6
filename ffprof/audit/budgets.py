"""What one process of an audit is held to on a GPU."""

from __future__ import annotations

from ffprof.hardware.memory_limit import Hold
from ffprof.records.audit import Budget, Debit, Evidence, Record


def hold_for(
    budget: Budget, evidence: Evidence, known_bytes: int = 0, *, limited: bool = True
) -> Hold | None:
    """The hold under a budget; None where there is no GPU memory to be held.

    A card is its own limit, unless its driver would use host memory instead of failing.
    ``known_bytes`` is what this workload has been seen to take beside the allocator. Without
    ``limited`` nothing is held, and the debit is measured alone.
    """
    if budget.total_bytes is None:
        return None
    return Hold(
        total_bytes=max(0, budget.total_bytes - budget.display_bytes),
        words=words_of(budget) if limited or evidence != "emulated" else "the whole GPU",
        counted_bytes=max(known_bytes, budget.target_debit_bytes or 0),
        limited=limited and (evidence == "emulated" or bool(budget.spills)),
    )


def words_of(budget: Budget) -> str:
    """The budget for people: ``8GB (GeForce RTX 5050)``."""
    if budget.card and budget.requested:
        return f"{budget.requested} ({budget.card})"
    return budget.card or budget.requested or "this GPU"


def most_taken(debit: Debit | None) -> int:
    """The most that was seen to be taken beside the allocator."""
    if debit is None:
        return 0
    return max(debit.context_bytes, debit.step_bytes or 0, debit.end_bytes or 0)


def known_debits(record: Record) -> dict[str, int]:
    """By workload, the most that its processes took beside the allocator so far."""
    found: dict[str, int] = {}
    for name, row in record.ledger.items():
        if row.uncapped is not None:
            found[name] = most_taken(row.uncapped.debit)
    for trial in (*record.discarded, *record.trials):
        found[trial.workload] = max(found.get(trial.workload, 0), most_taken(trial.debit))
    return found


def with_debit(budget: Budget, debit: Debit | None) -> Budget:
    """The budget, with the largest part that any trial left to context and libraries."""
    if debit is None or budget.total_bytes is None:
        return budget
    counted = max(budget.debit_bytes or 0, debit.counted_bytes or 0, most_taken(debit))
    left = max(0, budget.total_bytes - budget.display_bytes - counted - debit.slack_bytes)
    return budget.model_copy(update={"debit_bytes": counted, "limit_bytes": left})
