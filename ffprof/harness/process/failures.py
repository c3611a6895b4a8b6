"""Failures of a user's file, as the child that ran it reports them: one line, with its place."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ffprof.errors import FfprofError, RefusedError
from ffprof.harness.process.messages import Failed
from ffprof.workload.description import Description
from ffprof.workload.step import StepDescription
from ffprof.workload.user_file import FileDescription, Source


@contextlib.contextmanager
def telling(sender: Connection, source: Source | str | Description) -> Iterator[None]:
    """Before an error ends this child, send what it was and where in the user's file.

    A step that is neither from a file nor registered has no such place; registered workloads are
    left to the last line of their traceback.
    """
    found = source.source if isinstance(source, FileDescription) else source
    advice = _advice if isinstance(source, Source) else _no_advice
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(found, Source | StepDescription):
            outcome: Any = "refused" if isinstance(error, RefusedError) else "crashed"
            message = told_of(error, found) + advice(error)
            sender.send(Failed(outcome=outcome, message=message))
        raise


def told_of(error: BaseException, workload: object) -> str:
    """An error of a workload in one line, with its place if the workload is in a file."""
    source = workload.source if isinstance(workload, FileDescription) else workload
    if isinstance(source, Source):
        return located(error, source)
    words = " ".join(str(error).split())
    if not isinstance(error, FfprofError):
        words = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return words[:800]


def located(error: BaseException, source: Source) -> str:
    """``mine.py:12: NameError: name 'x' is not defined``: the innermost line in the file.

    If there is none, the innermost one in a file next to it.
    """
    named, line = source.name, None
    for path, number in reversed(_frames(error)):
        if path == source.path:
            named, line = source.name, number
            break
        if line is None and _is_beside(path, source):
            beside = Path(path).relative_to(Path(source.path).parent)
            named, line = str(Path(source.name).parent / beside), number
    text = str(traceback.TracebackException(type(error), error, None))
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename in (source.path, None):
        named, line, text = source.name, error.lineno or None, error.msg
    elif isinstance(error, SystemExit):
        kind, text = f"it calls sys.exit({text})", ""
    place = named if line is None else f"{named}:{line}"
    words = " ".join(text.split())
    told = words if isinstance(error, FfprofError) else f"{kind}: {words}" if words else kind
    return f"{place}: {told}"[:800]


def _frames(error: BaseException) -> list[tuple[str, int]]:
    """File and line of every frame, the outermost first."""
    walked = traceback.walk_tb(error.__traceback__)
    return [(frame.f_code.co_filename, number) for frame, number in walked]


def _is_beside(path: str, source: Source) -> bool:
    inside = Path(path).is_relative_to(Path(source.path).parent)
    return inside and "site-packages" not in Path(path).parts


def _advice(error: BaseException) -> str:
    """What to do about an error that keeps the file from being loaded."""
    if isinstance(error, FfprofError):
        return ""  # it says so itself
    if isinstance(error, ModuleNotFoundError):
        return "; install it where ffprof is installed, or correct the import"
    return "; fix the file"


def _no_advice(error: BaseException) -> str:
    return ""
