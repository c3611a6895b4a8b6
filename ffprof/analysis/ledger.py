"""The fairness ledger: what matches between rows, and what differs, in recipes too.

Figures of different work are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ffprof.errors import one_line
from ffprof.records.audit import Fact, LedgerRow, is_unmatched
from ffprof.records.recipe import Recipe

# What differs by design or says nothing to a reader of the table.
_NOT_LISTED = ("method", "schedule", "backbone_digest")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One fact in which rows differ: its value by workload."""

    fact: str
    values: dict[str, Fact]


def differences(ledger: Mapping[str, LedgerRow]) -> list[Difference]:
    """Facts in which matched rows differ, in the order in which they were gathered."""
    rows = {name: row.facts for name, row in ledger.items() if _is_compared(row)}
    names = dict.fromkeys(name for facts in rows.values() for name in facts)
    found = []
    for name in names:
        values = {workload: facts.get(name) for workload, facts in rows.items()}
        if name not in _NOT_LISTED and len(set(values.values())) > 1:
            found.append(Difference(fact=name, values=values))
    return found


def agreements(ledger: Mapping[str, LedgerRow]) -> dict[str, Fact]:
    """Facts that are the same in all matched rows."""
    rows = [row.facts for row in ledger.values() if _is_compared(row)]
    if not rows:
        return {}
    return {
        name: value
        for name, value in rows[0].items()
        if name not in _NOT_LISTED and all(facts.get(name) == value for facts in rows)
    }


def unmatched(ledger: Mapping[str, LedgerRow]) -> dict[str, dict[str, Fact]]:
    """What rows of which nothing is matched do not share with all others, by workload."""
    same = agreements(ledger)
    return {
        name: {
            fact: value
            for fact, value in row.facts.items()
            if fact not in _NOT_LISTED and (fact not in same or same[fact] != value)
        }
        for name, row in ledger.items()
        if is_unmatched(row.facts)
    }


def _is_compared(row: LedgerRow) -> bool:
    return bool(row.facts) and not is_unmatched(row.facts)


# What is to be judged, what was published, what a recipe is called, and where its data lie on the
# machine change no figure; what the data are (``data_fingerprint``) does.
_NO_FIGURE = ("claims", "references", "preset", "data_root")


def recipe_differences(one: Recipe, other: Recipe) -> tuple[str, ...]:
    """The fields that decide figures and differ, each with both values, in words."""
    ours, theirs = (recipe.model_dump(exclude=set(_NO_FIGURE)) for recipe in (one, other))
    return tuple(_differing("", ours, theirs))


def _differing(prefix: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    found = []
    for name, value in ours.items():
        other = theirs[name]
        if isinstance(value, dict):
            found += _differing(f"{prefix}{name}.", value, other)
        elif value != other:
            found.append(f"{prefix}{name} is {_told(value)} and {_told(other)}")
    return found


def _told(value: object) -> str:
    return "not set" if value is None or value == "" else one_line(str(value))[:60]
