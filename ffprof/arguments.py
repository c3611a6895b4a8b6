"""The arguments of a Python call: whether they are of the right types, and how they are written."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ffprof.errors import UsageError
from ffprof.records.store import first_problem

_P = ParamSpec("_P")
_R = TypeVar("_R")


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Hold the arguments of each call against the function's annotations.

    A value of another type that means the same, such as a number of numpy's, becomes the annotated
    one. Otherwise the call raises ``UsageError``, in one line.
    """
    signature = inspect.signature(function)

    @functools.cache
    def adapters() -> dict[str, TypeAdapter[Any]]:
        hints = get_type_hints(function, include_extras=True)
        return {name: _adapter(hints[name]) for name in signature.parameters}

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            plain = value.item() if type(value).__module__ == "numpy" else value
            try:
                bound.arguments[name] = adapters()[name].validate_python(plain)
            except ValidationError as error:
                told = first_problem(error).rpartition(": ")[2]
                raise UsageError(
                    f"{function.__name__}({name}={value!r:.60}): {told}", "see its documentation"
                ) from error
        return function(*bound.args, **bound.kwargs)

    return call


def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, strict=True))


def words_of(function: Callable[..., Any], asked: dict[str, Any]) -> str:
    """The call as it is written: what is not the default, without folder and progress."""
    known = inspect.signature(function).parameters
    given = [
        f"{name}={asked[name]!r}"
        for name, one in known.items()
        if name not in ("progress", "out") and asked[name] not in (one.default, ())
    ]
    return f"ffprof.{function.__name__}({', '.join(given)})"
