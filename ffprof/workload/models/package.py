"""Packages that models come from; they are installed by the user, or not."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ffprof.errors import UsageError


def imported(name: str, needed_by: str) -> Any:
    """A package.

    Args:
        name: what is imported.
        needed_by: what needs it, in words.

    Raises:
        UsageError: it is not installed, or cannot be imported.
    """
    if importlib.util.find_spec(name) is None:
        raise UsageError(
            f"{needed_by} needs {name}, which is not installed", "pip install 'ffprof[models]'"
        )
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UsageError(
            f"{name} is installed and cannot be imported ({told(error)})",
            f"pip install --upgrade {name}",
        ) from error


def told(error: BaseException) -> str:
    """The kind of an error, and the beginning of what it says, on one line."""
    words = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
