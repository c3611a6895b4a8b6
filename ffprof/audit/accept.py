"""May a row stand in the table? Rows must match in everything that the recipe fixes."""

from __future__ import annotations

from collections.abc import Mapping

from ffprof.records.audit import SHARED, Fact, is_unmatched

# What the recipe fixes: a row that differs from the others here is refused.
FIXED = (
    "effective_batch",
    "norm",
    "precision",
    "parameter_dtypes",
    "memory_format",
    "optimizer",
    "threads",
    "default_dtype",
    "tf32_matmul",
    "tf32_cudnn",
    "cudnn_benchmark",
    "deterministic",
    "allocator_conf",
)


def mismatch(facts: Mapping[str, Fact], others: Mapping[str, Fact]) -> str | None:
    """The first fact fixed by the recipe in which a row differs from an accepted one.

    A row of which nothing is matched has nothing that could differ; its facts say so.
    """
    if is_unmatched(facts) or is_unmatched(others):
        return None
    for name in FIXED:
        if facts.get(name) != others.get(name):
            return f"{name} is {facts.get(name)!r}, other rows have {others.get(name)!r}"
    if facts.get("backbone") == others.get("backbone") == SHARED:
        ours, theirs = facts.get("backbone_digest"), others.get("backbone_digest")
        if ours != theirs:
            return f"its backbone starts from {ours}, that of other rows from {theirs}"
    return None
