"""Questions to one device: alternatives of a question, and reasons where there is no answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ffprof.instruments.nvml.errors import LASTING, GpuLostError, NvmlError
from ffprof.instruments.nvml.library import Library

ABSURD = 2.0**63  # of whatever: no record holds it
Way = tuple[Any, ...]  # a function's name, then its arguments


class Questions:
    """Asks a device and keeps the reasons of what it did not answer, by field, in ``unread``.

    What a driver will never answer is not asked again: even "not supported" takes time.
    """

    def __init__(self, library: Library, *handle: Any) -> None:
        self._library, self._handle = library, handle
        self._ways: dict[str, list[Way]] = {}
        self.unread: dict[str, str] = {}
        self.answered = 0
        self.last_code: int | None = None

    def ask(self, field: str, *ways: Way) -> Any:
        """The answer of the first way that has one; None leaves a reason in ``unread``.

        Raises:
            GpuLostError: the device is gone.
        """
        left = self._ways.setdefault(field, list(ways))
        while left:
            function, *arguments = left[0]
            try:
                answer = self._library.ask(function, *self._handle, *arguments)
            except GpuLostError:
                raise
            except NvmlError as error:
                # The first way is the usual one: its reason says most.
                if len(left) == len(ways) or field not in self.unread:
                    self.unread[field] = error.reason
                self.last_code = error.code
                if not isinstance(error, LASTING):
                    return None
                left.pop(0)
                continue
            self.answered += 1
            self.unread.pop(field, None)
            return answer
        return None

    def refuse(self, field: str, reason: str) -> None:
        """Never ask about this field, for a reason of our own."""
        self._ways[field] = []
        self.unread[field] = reason

    def number(self, field: str, *ways: Way, unit: float = 1.0) -> float | None:
        """``ask`` for a number, in units of which the driver's are ``unit``."""
        answer = self.ask(field, *ways)
        if answer is None:
            return None
        found = float(answer) * unit
        if not math.isfinite(found) or abs(found) >= ABSURD:
            self.unread[field] = f"the driver answers {answer!r:.40}, which cannot be"
            return None
        return found

    def whole(self, field: str, *ways: Way) -> int | None:
        """``ask`` for a whole number."""
        answer = self.ask(field, *ways)
        return None if answer is None else int(answer)

    def truth(self, field: str, *ways: Way) -> bool | None:
        """``ask`` for yes or no."""
        answer = self.ask(field, *ways)
        return None if answer is None else bool(answer)

    def text(self, field: str, *ways: Way) -> str | None:
        """``ask`` for a text."""
        answer = self.ask(field, *ways)
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer


def first_reason(unread: dict[str, str], fields: Sequence[str]) -> str:
    """The reason of the first of these fields that has one, or nothing."""
    return next((unread[field] for field in fields if field in unread), "")
