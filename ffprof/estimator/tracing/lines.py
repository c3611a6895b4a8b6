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


class Lines:
    """Looks for the innermost line that is no library's, and remembers what autograd recorded."""

    def __init__(self) -> None:
        self._of_user: dict[CodeType, bool] = {}
        self._known: dict[tuple[CodeType, int], Line] = {}
        self._recorded: dict[int, Line] = {}

    def here(self) -> Line:
        """The line that is running; None if no code of the user is."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            of_user = self._of_user.get(code)
            if of_user is None:
                file = code.co_filename
                of_user = not (of_library(file) or file.startswith((_OURS, "<string>")))
                self._of_user[code] = of_user
            if of_user:
                key = code, frame.f_lineno
                if key not in self._known:
                    self._known[key] = (code.co_filename, frame.f_lineno, code.co_name)
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
