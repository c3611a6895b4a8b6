"""May two records be held against one another? And what must be said if they are."""

from __future__ import annotations

from ffprof.compare.recipes import recipe_differences
from ffprof.errors import UsageError
from ffprof.records.audit import Record
from ffprof.units import format_bytes

# A driver that takes a little more or less of a card makes no other card of it.
SAME_TOTAL = 0.01


def require_comparable(baseline: Record, current: Record) -> None:
    """Refuse what would compare different things.

    Raises:
        UsageError: kinds of evidence, recipes or budgets differ; it names in what.
    """
    if baseline.evidence != current.evidence:
        raise UsageError(
            f"the baseline is {baseline.evidence} and the new result {current.evidence}, which "
            "are never compared",
            f"give a result that is {baseline.evidence}, or a baseline that is {current.evidence}",
        )
    differing = recipe_differences(baseline.recipe, current.recipe)
    if differing:
        raise UsageError(
            f"the recipes differ: {'; '.join(differing)} (baseline first)",
            "measure with the baseline's recipe, or remove the baseline and make it anew with "
            "--update-baseline",
        )
    ours, theirs = baseline.budget, current.budget
    if ours.card != theirs.card or not _near(ours.total_bytes, theirs.total_bytes):
        cards = " and ".join(
            f"{one.card or one.requested or 'no card'} with {format_bytes(one.total_bytes)}"
            for one in (ours, theirs)
        )
        raise UsageError(
            f"the budgets differ: {cards} (baseline first)",
            "give the new result the baseline's --card or --gpu-mem",
        )


def notes_on(baseline: Record, current: Record) -> tuple[str, ...]:
    """What differs between two comparable records and may be why figures differ."""
    found = []
    counted = "estimates, FLOPs and operators repeat with one version only"
    for name, tail in (("torch", f": {counted}"), ("ffprof", "")):
        was, now = (record.machine.versions.get(name) for record in (baseline, current))
        if was != now:
            found.append(f"{name} is {now or 'not known'} and was {was or 'not known'}{tail}")
    if baseline.budget.total_bytes != current.budget.total_bytes:
        found.append(
            f"the budget's card offers {current.budget.total_bytes:,} B and offered "
            f"{baseline.budget.total_bytes:,} B"
        )
    for which, record in (("baseline", baseline), ("new result", current)):
        missing = len(record.missing())
        if missing:
            told = "1 of its trials is" if missing == 1 else f"{missing} of its trials are"
            found.append(f"the {which} is not complete: {told} missing")
    return tuple(found)


def _near(one: int | None, other: int | None) -> bool:
    if one is None or other is None:
        return one == other
    return abs(one - other) <= SAME_TOTAL * max(one, other)
