"""Step times: wall clock on a CPU, CUDA events on a GPU.

A clock is started once, told of every step's end, and read after the device is idle. ``elapsed``
may be asked during the run to keep a time box; it never waits for the device.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Clock(Protocol):
    """What the measuring loop asks of a clock."""

    def start(self) -> None:
        """Begin: the device is idle and the first step is about to be issued."""

    def lap(self) -> None:
        """The last kernel of a step has been issued."""

    def fed(self) -> None:
        """The next step's batch has arrived on the host; may be told before ``start``."""

    def waited(self) -> float:
        """Seconds of the timed phase between the end of a step and the arrival of the next batch.

        On a GPU only what the device was idle for: waiting behind queued work costs nothing. Read
        it after ``laps``.
        """

    def elapsed(self) -> float:
        """Host seconds since ``start``."""

    def laps(self) -> list[float]:
        """Seconds of every step; waits for the device. Their sum is the whole timed phase."""


class WallClock:
    """``time.perf_counter``: for devices whose work is done when the call returns."""

    def __init__(self) -> None:
        self._marks: list[float] = []
        self._waited = 0.0

    def start(self) -> None:
        """See ``Clock``."""
        self._waited = 0.0
        self._marks = [time.perf_counter()]

    def fed(self) -> None:
        """See ``Clock``."""
        if self._marks:
            self._waited += time.perf_counter() - self._marks[-1]

    def waited(self) -> float:
        """See ``Clock``."""
        return self._waited

    def lap(self) -> None:
        """See ``Clock``."""
        self._marks.append(time.perf_counter())

    def elapsed(self) -> float:
        """See ``Clock``."""
        return time.perf_counter() - self._marks[0]

    def laps(self) -> list[float]:
        """See ``Clock``."""
        return [b - a for a, b in zip(self._marks, self._marks[1:], strict=False)]


class CudaClock:
    """CUDA events on the current stream: they do not stall the queue between steps."""

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []
        self._waits: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._started = 0.0

    def start(self) -> None:
        """See ``Clock``."""
        import torch

        torch.cuda.synchronize()
        self._events, self._waits = [], []
        self._started = time.perf_counter()
        self.lap()

    def lap(self) -> None:
        """See ``Clock``."""
        self._events.append(self._event())

    def fed(self) -> None:
        """See ``Clock``; behind queued work this event is stamped right after its end."""
        if self._events:
            self._waits.append((self._events[-1], self._event()))

    def waited(self) -> float:
        """See ``Clock``."""
        waits: list[float] = [end.elapsed_time(arrival) for end, arrival in self._waits]
        return sum(waits) / 1000

    def _event(self) -> torch.cuda.Event:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def elapsed(self) -> float:
        """See ``Clock``."""
        return time.perf_counter() - self._started

    def laps(self) -> list[float]:
        """See ``Clock``; events tick at about half a microsecond."""
        self._events[-1].synchronize()
        pairs = zip(self._events, self._events[1:], strict=False)
        return [a.elapsed_time(b) / 1000 for a, b in pairs]


class FakeClock:
    """Replays given step times; for tests of whatever is timed."""

    def __init__(self, step_seconds: Iterable[float]) -> None:
        self._script = iter(step_seconds)
        self._laps: list[float] = []

    def start(self) -> None:
        """See ``Clock``."""
        self._laps = []

    def lap(self) -> None:
        """See ``Clock``."""
        self._laps.append(next(self._script))

    def fed(self) -> None:
        """Nothing."""

    def waited(self) -> float:
        """Nothing was waited for."""
        return 0.0

    def elapsed(self) -> float:
        """See ``Clock``."""
        return sum(self._laps)

    def laps(self) -> list[float]:
        """See ``Clock``."""
        return list(self._laps)
