"""What every long run shares: its time limit, the GPU's guard, what ends it early, who is notified.

What ends a run early (the user, its limit, others on the GPU) keeps what is done: the record on
the disk is complete as far as it goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ffprof.hardware.environment import environment
from ffprof.harness.process.guard import Guard
from ffprof.records.trial import Trial
from ffprof.units import format_bytes, format_rate

OUT_OF_TIME = "the run's time limit is over"
AnyRecord = TypeVar("AnyRecord")


class StoppedError(Exception):
    """Why a run goes no further."""


class Progress(Protocol):
    """Informed of what happens; quiet from ``starts`` to the next call, while a trial runs."""

    def starts(self, text: str, number: int, total: int, left_seconds: float | None = None) -> None:
        """Something is about to run, in words; ``number`` of ``total`` are done.

        ``left_seconds`` forecasts the rest, where that has changed.
        """

    def ends(self, line: str, left_seconds: float | None = None) -> None:
        """It is over, in a line; ``left_seconds`` forecasts the rest."""

    def says(self, text: str) -> None:
        """Something that the user should know now; never while a trial runs."""

    def done(self) -> None:
        """Nothing more runs."""


def trial_line(trial: Trial, name: str = "") -> str:
    """A trial that is over, in a line; ``name`` stands for its workload's."""
    name = name or trial.workload
    if trial.evidence == "estimated":
        answer = trial.memory.fit or trial.outcome
        return (
            f"estimated  {name:<23} {answer:<19}{format_bytes(trial.memory.allocated_peak_bytes)}"
        )
    speed = trial.throughput.images_per_second if trial.throughput else None
    told = f"{format_rate(speed)} img/s" if speed else trial.message
    return f"round {trial.round + 1}  {name:<23} {trial.outcome:<9}{told}"


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[AnyRecord]):
    """The record as far as it goes, and why it goes no further."""

    record: AnyRecord
    stopped: str | None = None
    interrupt: BaseException | None = None


class Campaign:
    """One long run, from its first to its last child."""

    def __init__(
        self,
        progress: Progress,
        guard: Guard,
        limit_seconds: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.progress, self.guard, self.now = progress, guard, now
        self._limit, self._started = limit_seconds, now()

    def spent(self) -> float:
        """Seconds since it began."""
        return self.now() - self._started

    def left(self) -> float:
        """Seconds of its limit that are left."""
        return float("inf") if self._limit is None else self._limit - self.spent()

    def limit(self, wanted: float) -> float:
        """Seconds that a child may take which may take ``wanted`` by itself.

        Raises:
            StoppedError: none are left.
        """
        left = self.left()
        if left <= 0:
            raise StoppedError(OUT_OF_TIME)
        return min(wanted, left)

    def admit(self) -> None:
        """Make sure that a trial may start.

        Raises:
            StoppedError: time is over, the GPU is gone, or others are on it.
        """
        self.limit(0)
        if (stopped := self.guard.admit(self.left)) is not None:
            raise StoppedError(stopped)

    def charge(self, timeout: bool, limit: float, wanted: float) -> None:
        """Tell a child's own limit from the run's, which says nothing of the child.

        Raises:
            StoppedError: it was the run's that ended it.
        """
        if timeout and limit < wanted:
            raise StoppedError(OUT_OF_TIME)

    def run(
        self, variables: Mapping[str, str | None], work: Callable[[tuple[str, ...]], None]
    ) -> tuple[str | None, BaseException | None]:
        """Do the work, which is told what the guard noted first; why it stopped, and by whom.

        Raises:
            DeviceError: the GPU is taken by others, and must not be.
        """
        try:
            with environment(dict(variables)), self.guard.on_duty(self.left) as notes:
                work(notes)
        except StoppedError as error:
            return str(error), None
        except KeyboardInterrupt as error:
            return "interrupted", error
        finally:
            self.progress.done()
        return None, None
