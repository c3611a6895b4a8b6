"""What a function of the user's own takes, as far as it tells."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # some callables have no signature
        return []


def names_of(target: Callable[..., Any]) -> list[str]:
    """Of its arguments; none where it does not tell."""
    return [one.name for one in _parameters(target)]


def takes_batch(build: Callable[..., Any]) -> bool:
    """Whether it has an argument ``batch`` after the device."""
    return "batch" in names_of(build)[1:]


def takes_device(build: Callable[..., Any]) -> bool:
    """Whether it can be called with a device alone, or with the batch that it takes."""
    return takes(build, 1, ["batch"] if takes_batch(build) else [])


def sizes_of(build: Callable[..., Any]) -> tuple[tuple[str, int], ...]:
    """Arguments after the device whose defaults are whole numbers, but for ``batch``."""
    found = _parameters(build)[1:]
    named = [one for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return tuple(
        (one.name, one.default) for one in named if type(one.default) is int and one.name != "batch"
    )


def takes(target: Callable[..., Any], count: int, names: Sequence[str] = ()) -> bool:
    """Whether it can be called with so many arguments and these names, as far as it tells."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # some callables have no signature
        return True
    try:
        signature.bind(*[None] * count, **dict.fromkeys(names))
    except TypeError:
        return False
    return True
