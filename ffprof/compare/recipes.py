"""Do two recipes ask for the same work? Figures of different work are not compared."""

from __future__ import annotations

from typing import Any

from ffprof.errors import one_line
from ffprof.records.recipe import Recipe

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
