"""What a function of the user's own takes, as far as it tells."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

from ffprof.errors import UsageError, did_you_mean


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


def default_sizes(build: Callable[..., Any]) -> dict[str, int]:
    """All arguments after the device whose defaults are whole numbers, ``batch`` too."""
    return {one.name: one.default for one in _parameters(build)[1:] if type(one.default) is int}


def refers_to(build: Callable[..., Any]) -> list[Any]:
    """What a function uses of outside: values of its closure, its module, and its own object."""
    inner = getattr(build, "func", build)  # of a partial function
    found = [*getattr(inner, "__dict__", {}).values()]
    found += getattr(getattr(inner, "__self__", None), "__dict__", {}).values()
    try:
        outside = inspect.getclosurevars(inner)
    except (TypeError, ValueError):  # no Python function, or a cell that is empty
        return found
    return [*found, *outside.nonlocals.values(), *outside.globals.values()]


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


def check_sizes(build: Callable[..., Any], sizes: Mapping[str, object]) -> None:
    """Whether ``build`` takes these sizes, and gets those that it needs.

    Raises:
        UsageError: it does not, or one is no positive whole number.
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes = [one.name for one in _parameters(build)[1:] if one.kind in named]
    anything = any(one.kind is one.VAR_KEYWORD for one in _parameters(build))
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise UsageError(f"{name}={value!r}", "give a positive whole number")
        if name not in takes and not anything:
            known = did_you_mean(name, takes) if takes else ""
            raise UsageError(
                f"build takes no {name}", f"{known}give it one: def build(device, {name}=8)"
            )
    if "batch" in takes and "batch" not in (*sizes, *default_sizes(build)):
        raise UsageError("build takes a batch", "say how large: ffprof.estimate(build, batch=8)")
