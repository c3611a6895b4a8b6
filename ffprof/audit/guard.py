"""Looks after the GPU of an audit: nobody else on it, cool, and still there.

Asked between trials only. What happens while a trial runs is seen by ``ffprof.audit.watching``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import psutil

from ffprof.audit.gpu_lock import GpuLock
from ffprof.errors import DeviceError
from ffprof.instruments.nvml import (
    GpuLostError,
    NvmlError,
    NvmlGpu,
    Sample,
    foreign_in,
    idle_power,
    open_gpu,
    slowdowns_in,
)

Policy = Literal["warn", "wait", "refuse"]
IDLE_SECONDS = 2.0  # over which idle power is taken
CALM_SECONDS = 60.0  # that a hot GPU is given before a trial is taken again
_POLL_SECONDS = 1.0


class Guard:
    """The GPU with one UUID, as NVML sees it; without NVML it lets everything pass.

    Args:
        uuid: as CUDA gives it; None on a CPU.
        policy: what to do about processes of others: go on and say so, wait for their end, or
            stop.
        say: tells the user one line.
        sleep: replaced in tests.
        opened: opens NVML's GPU by its UUID.
    """

    def __init__(
        self,
        uuid: str | None,
        policy: Policy = "warn",
        *,
        say: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
        opened: Callable[[str], NvmlGpu] = open_gpu,
    ) -> None:
        self._uuid, self._policy, self._say, self._sleep = uuid, policy, say, sleep
        self._opened = opened
        self.gpu: NvmlGpu | None = None
        self.reason = "not a GPU"
        self.idle_watts: float | None = None
        self.known: frozenset[int] = frozenset()  # processes of others that were there before

    @contextmanager
    def on_duty(self, left: Callable[[], float]) -> Iterator[tuple[str, ...]]:
        """Hold the GPU for this audit; gives what is to be noted in its record.

        Args:
            left: seconds that may still be waited.

        Raises:
            DeviceError: another audit or somebody else is on it, and must not be.
        """
        if self._uuid is None:
            yield ()
            return
        lock = GpuLock(self._uuid)
        try:
            self._take(lock, left)
            try:
                self.gpu = self._opened(self._uuid)
            except NvmlError as error:
                self.reason = str(error)
            notes = self._first_look(left)
            yield notes
        finally:
            if self.gpu is not None:
                self.gpu.close()
                self.gpu = None
            lock.release()

    def _take(self, lock: GpuLock, left: Callable[[], float]) -> None:
        told = False
        while (holder := lock.take()) is not None:
            if self._policy != "wait" or left() <= 0:
                raise DeviceError(
                    f"another audit ({holder}) is measuring on this GPU",
                    "wait until it has ended, or let this one wait with --on-foreign wait",
                )
            if not told:
                self._say(f"waiting until another audit ({holder}) has ended ...")
                told = True
            self._sleep(_POLL_SECONDS)

    def _first_look(self, left: Callable[[], float]) -> tuple[str, ...]:
        stopped = self.admit(left)
        if stopped is not None:
            raise DeviceError(stopped, "end them, or use --on-foreign wait or warn")
        notes = []
        seen = self._look()
        others = foreign_in(seen, own_processes()) if seen else ()
        if others:
            self.known = frozenset(one.pid for one in others)
            told = ", ".join(one.words for one in others)
            notes.append(
                f"on the GPU before the audit began: {told}; they take memory and time from trials"
            )
            self._say(notes[0])
        elif self.gpu is not None:
            self.idle_watts = idle_power(self.gpu, IDLE_SECONDS, sleep=self._sleep)
        return tuple(notes)

    def admit(self, left: Callable[[], float]) -> str | None:
        """Why no trial may begin now, or None; under ``wait`` it waits for others to end."""
        told = False
        while True:
            seen = self._look()
            if isinstance(seen, str):
                return seen
            others = foreign_in(seen, own_processes()) if seen else ()
            strange = [one for one in others if one.computes and one.pid not in self.known]
            if not strange or self._policy == "warn":
                return None
            words = ", ".join(one.words for one in strange)
            if self._policy == "refuse":
                return f"other processes are on the GPU: {words}"
            if left() <= 0:
                return f"others were still on the GPU when the time limit was over: {words}"
            if not told:
                self._say(f"waiting until the GPU is free of {words} ...")
                told = True
            self._sleep(_POLL_SECONDS)

    def calm(self, left: Callable[[], float]) -> None:
        """Give a slowed GPU some time to recover, and, unless they are refused, others to go."""
        until = time.monotonic() + min(CALM_SECONDS, left())
        while time.monotonic() < until:
            seen = self._look()
            if not isinstance(seen, Sample):
                return
            others = foreign_in(seen, own_processes())
            strange = any(one.computes and one.pid not in self.known for one in others)
            if not slowdowns_in(seen.throttle) and not (strange and self._policy != "refuse"):
                return
            self._sleep(_POLL_SECONDS)

    def _look(self) -> Sample | str | None:
        """A sample; why the GPU is no more; None where NVML does not say."""
        if self.gpu is None:
            return None
        try:
            return self.gpu.sample()
        except GpuLostError as error:
            return f"the GPU is gone ({error})"
        except NvmlError:
            return None


def own_processes() -> frozenset[int]:
    """This process and everything that it has started."""
    here = psutil.Process()
    try:
        return frozenset({os.getpid(), *(one.pid for one in here.children(recursive=True))})
    except psutil.Error:
        return frozenset({os.getpid()})
