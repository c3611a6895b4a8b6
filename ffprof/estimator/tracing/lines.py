"""Which line of the user's code asks for memory: in backward, the one whose forward it is of."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

from ffprof.estimator.stream import Line
from ffprof.nulldevice.script.places import of_library

_OURS = f"{Path(__file__).resolve().parents[2]}/"


def _of_user(file: str) -> bool:
    """Whether somebody wrote it: not a library, and not code that was made up."""
    if file.startswith("<"):
        return file == "<stdin>" or file.startswith("<ipython")
    return not (of_library(file) or file.startswith(_OURS) or "/torchinductor_" in file)


class Lines:
    """Looks for the innermost line that is no library's, and remembers what autograd recorded."""

    def __init__(self) -> None:
        # Code of two files may be equal.
        self._of_user: dict[tuple[str, CodeType], bool] = {}
        self._known: dict[tuple[str, CodeType, int], Line] = {}
        self._recorded: dict[int, Line] = {}

    def here(self) -> Line:
        """The line that is running; None if no code of the user is."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            file = code.co_filename
            of_user = self._of_user.get((file, code))
            if of_user is None:
                of_user = self._of_user[file, code] = _of_user(file)
            if of_user:
                key = file, code, frame.f_lineno
                if key not in self._known:
                    self._known[key] = (file, frame.f_lineno, code.co_name)
                return self._known[key]
            frame = frame.f_back
        return None

    def record(self, line: Line) -> None:
        """Remember what autograd recorded last as this line's."""
        number = torch._C._autograd._get_sequence_nr() - 1
        self._recorded.setdefault(number, line)

    def of_node(self, node: Any) -> Line:
        """The line whose forward recorded a node of the graph; None if it is not known."""
        return self._recorded.get(node._sequence_nr())
