"""Looks after the GPU of an audit: one audit on it, nobody else, cool, and still there.

It looks between trials only; what happens while a trial runs is seen by ``monitor``. Two audits on
one GPU would take each other's memory and time, so each locks it: a file in the system's temporary
folder, named by the GPU. Where it cannot be had for another reason than that someone holds it
(another user's file, no locks), there is none: the other audit is then found as a process on the
GPU.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psutil

from ffprof.errors import DeviceError, one_line
from ffprof.instruments.nvml import (
    DeviceFacts,
    GpuLostError,
    GpuProcess,
    NvmlError,
    NvmlGpu,
    Sample,
    idle_power,
    open_gpu,
)
from ffprof.instruments.nvml.sample import in_words
from ffprof.records.files import try_lock
from ffprof.units import format_bytes

_READ = 200  # bytes; a process number


def gpu_lock_path(uuid: str) -> Path:
    """The file that stands for a GPU."""
    return Path(tempfile.gettempdir()) / f"ffprof-{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.lock"


class GpuLock:
    """Holds a GPU for this process, from ``take`` to ``release``."""

    def __init__(self, uuid: str) -> None:
        self._path = gpu_lock_path(uuid)
        self._descriptor: int | None = None

    def take(self) -> str | None:
        """Who holds the GPU, in words; None if it is ours now, or cannot be locked."""
        if self._descriptor is not None:
            return None
        descriptor = self._open()
        if descriptor is None:
            return None
        try:
            locked = try_lock(descriptor)
        except OSError:
            locked = None
        if not locked:
            holder = os.pread(descriptor, _READ, 0).decode(errors="replace").strip()
            os.close(descriptor)
            if locked is None:
                return None
            return f"process {holder}" if holder.isdigit() else "another process"
        with contextlib.suppress(OSError):  # another user's file is opened for reading only
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return None

    def release(self) -> None:
        """Let others have it; may be called again. The file stays: it locks nothing by itself."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int | None:
        for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
            with contextlib.suppress(OSError):
                # Somebody's pipe of that name would keep who opens it waiting.
                opened = os.open(
                    self._path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666
                )
                if stat.S_ISREG(os.fstat(opened).st_mode):
                    return opened
                os.close(opened)
        return None


Policy = Literal["warn", "wait", "refuse"]
IDLE_SECONDS = 2.0  # over which idle power is taken
CALM_SECONDS = 60.0  # that a hot GPU is given before a trial is repeated
_POLL_SECONDS = 1.0
_LINGERS = 4  # half polls that a process may be listed after its end
_NAMED = 4  # of others, by name
# A container may list nobody; a driver alone keeps less than this of a GPU for itself.
UNLISTED_BYTES = 3 * 2**29
UNLISTED = 0  # the number that stands for them


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
        self.facts: DeviceFacts | None = None
        self.last: Sample | None = None  # the newest look between trials
        self.reason = "not a GPU" if uuid is None else "NVML was not queried"
        self.idle_watts: float | None = None
        self.known: frozenset[int] = frozenset()  # processes of others that were there before
        self.ours: set[int] = set()  # trials, which the driver may list a little longer

    @contextmanager
    def on_duty(self, left: Callable[[], float]) -> Iterator[tuple[str, ...]]:
        """Hold the GPU for this audit; gives what is to be noted in its record.

        Args:
            left: seconds that may still be waited.

        Raises:
            DeviceError: another audit or someone else is on it, and must not be.
        """
        if self._uuid is None:
            yield ()
            return
        lock = GpuLock(self._uuid)
        try:
            self._take(lock, left)
            try:
                self.gpu = self._opened(self._uuid)
                self.facts = self.gpu.facts()
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
            raise DeviceError(stopped, "free the GPU, or use --on-foreign wait or warn")
        notes = []
        others = self._strange()
        if others:
            self.known = frozenset(one.pid for one in others)
            notes.append(
                f"on the GPU before the audit began: {_named(others)}; they take memory and time "
                "from trials, which are marked"
            )
            self._say(notes[0])
        elif self.gpu is not None:
            self.idle_watts = idle_power(self.gpu, IDLE_SECONDS, sleep=self._sleep)
        if self.last is None or self.last.processes is None:
            reason = self.last.unread.get("processes", "not told") if self.last else self.reason
            kept = "" if self._policy == "warn" else f"; --on-foreign {self._policy} cannot be kept"
            notes.append(f"other processes on the GPU are not known ({reason}){kept}")
        return tuple(notes)

    def admit(self, left: Callable[[], float]) -> str | None:
        """Why no trial may begin now, or None; under ``wait`` it waits for others to end."""
        told = False
        while True:
            gone = self._look()
            if gone is not None:
                return gone
            strange = self._strange()
            if not strange or self._policy == "warn":
                return None
            words = _named(strange)
            if self._policy == "refuse":
                return f"other processes are on the GPU: {words}"
            if left() <= 0:
                return f"others were still on the GPU when the time limit ended: {words}"
            if not told:
                self._say(f"waiting until the GPU is free of {words} ...")
                told = True
            self._sleep(_POLL_SECONDS)

    def calm(self, left: Callable[[], float]) -> None:
        """Give a slowed GPU some time to recover, and, unless they are refused, others to go."""
        until = time.monotonic() + min(CALM_SECONDS, left())
        while time.monotonic() < until:
            if self._look() is not None or self.last is None:
                return
            strange = self._policy != "refuse" and self._strange()
            if not in_words(self.last.throttle or 0) and not strange:
                return
            self._sleep(_POLL_SECONDS)

    def _strange(self) -> list[GpuProcess]:
        """Who computes and was not there before the audit.

        One look is not enough: the driver may still list a trial that has just ended, in a
        container by a number that is not ours.
        """
        found = self._others()
        for _ in range(_LINGERS):
            if not found:
                break
            self._sleep(_POLL_SECONDS / 2)
            self._look()
            still = {one.pid for one in self._others()}
            found = [one for one in found if one.pid in still]
        return found

    def _others(self) -> list[GpuProcess]:
        seen = self.last
        if seen is None:
            return []
        own = own_processes() | self.ours
        found = [one for one in seen.processes or () if one.pid not in own]
        used = seen.device_used_bytes or 0
        if seen.processes == () and used > UNLISTED_BYTES:
            found = [GpuProcess(pid=UNLISTED, name="processes not listed", used_bytes=used)]
        return [one for one in found if not one.graphics and one.pid not in self.known]

    def _look(self) -> str | None:
        """Take ``last``; returns why the GPU is no more, or None."""
        self.last = None
        if self.gpu is not None:
            try:
                self.last = self.gpu.sample()
            except GpuLostError as error:
                return f"the GPU is gone ({error})"
            except NvmlError:
                return None  # it does not tell now; the trial's own samples say why
        return None


def _named(found: Sequence[GpuProcess]) -> str:
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(map(_words, found[:_NAMED])) + more


def _words(one: GpuProcess) -> str:
    size = "" if one.used_bytes is None else f" {format_bytes(one.used_bytes)}"
    return one_line(f"{one.name.split('/')[-1][:40]} ({one.pid}){size}")


def own_processes() -> frozenset[int]:
    """This process and everything that it has started."""
    here = psutil.Process()
    try:
        return frozenset({os.getpid(), *(one.pid for one in here.children(recursive=True))})
    except psutil.Error:
        return frozenset({os.getpid()})
