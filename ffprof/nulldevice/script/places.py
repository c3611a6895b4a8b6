"""Which line of code is the user's, among those of libraries."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, TracebackType

from ffprof.nulldevice.script.report import Place

_STANDARD = tuple({f"{sysconfig.get_paths()[name]}/" for name in ("stdlib", "platstdlib")})
_PACKAGES = ("/site-packages/", "/dist-packages/")
_OWN = f"{Path(__file__).parent}/"  # this may be outside of site-packages
_Line = tuple[str, int, str]  # file, line and function


def of_library(file: str) -> bool:
    """Whether a file is Python's own, an installed package's or a part of this watch."""
    return (
        file.startswith((*_STANDARD, _OWN, "<frozen"))
        or file in ("", "??")
        or any(one in file for one in _PACKAGES)
    )


def of_torch(file: str) -> bool:
    """Whether a file is PyTorch's, or a part of this watch."""
    return file.startswith((_torch(), _OWN, "<frozen")) or file in ("", "??")


def _torch() -> str:
    return os.path.join(os.path.dirname(sys.modules["torch"].__file__ or "/"), "")  # noqa: PTH118, PTH120


def place_of(lines: Iterable[_Line]) -> Place:
    """The innermost line of the user; if there is none, the innermost that is not PyTorch's.

    ``lines`` go from the inside to the outside.
    """
    outside = [one for one in lines if not of_torch(one[0])]
    found = next((one for one in outside if not of_library(one[0])), None)
    found = found or next(iter(outside), None)
    if found is None:
        return Place()
    file, line, function = found
    text = linecache.getline(file, line).strip()[:200]
    return Place(file=file, line=line, function=function, text=text)


def lines_of_frame(frame: FrameType | None) -> list[_Line]:
    """A frame and those that called it, from the inside to the outside."""
    found = []
    while frame is not None:
        found.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return found


def lines_here() -> list[_Line]:
    """Those that are running in this thread."""
    return lines_of_frame(sys._getframe(1))


def lines_of_traceback(traceback: TracebackType | None) -> list[_Line]:
    """Those of an exception, from the inside to the outside."""
    found = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append((code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return found[::-1]
