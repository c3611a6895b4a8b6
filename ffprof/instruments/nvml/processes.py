"""Who is on a GPU: the lists of computing and of drawing processes, each once, and their owners."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import psutil

from ffprof.errors import one_line
from ffprof.instruments.nvml.library import ABSURD, Library, NvmlError, Questions
from ffprof.instruments.nvml.sample import GpuProcess, Sample
from ffprof.records.trial import DebitSource
from ffprof.units import format_bytes


class ProcessList:
    """Reads the lists; a name is read once for each new process."""

    def __init__(self, library: Library, device: Questions) -> None:
        self._library, self._device = library, device
        self._names: dict[int, str] = {}
        self._drawing: list[Any] | None = None

    def look(self, *, graphics_too: bool) -> tuple[GpuProcess, ...] | None:
        """The processes now; None where those that compute are not told.

        Args:
            graphics_too: read those that draw, too; else they are those of last time.

        Raises:
            GpuLostError: the GPU is gone.
        """
        if graphics_too:
            self._drawing = self._listed("graphics_processes", "Graphics")
        computing = self._listed("processes", "Compute")
        if computing is None:
            return None
        found: dict[int, GpuProcess] = {}
        for graphics, listed in ((True, self._drawing), (False, computing)):
            for one in listed or ():
                used = getattr(one, "usedGpuMemory", None)
                found[one.pid] = GpuProcess(
                    pid=int(one.pid),
                    name=self._name(one.pid),
                    used_bytes=None if used is None or used >= ABSURD else int(used),
                    graphics=graphics,
                )
        self._names = {pid: self._names[pid] for pid in found}
        return tuple(found.values())

    def _listed(self, field: str, kind: str) -> list[Any] | None:
        function = f"nvmlDeviceGet{kind}RunningProcesses"
        # Drivers before 510 have no third version.
        answer: list[Any] | None = self._device.ask(field, (function,), (f"{function}_v2",))
        return answer

    def _name(self, pid: int) -> str:
        if pid not in self._names:
            try:
                name = self._library.ask("nvmlSystemGetProcessName", pid)
            except NvmlError:  # another user's, or of another container
                name = ""
            text = name.decode(errors="replace") if isinstance(name, bytes) else name
            self._names[pid] = text or "unknown"
        return self._names[pid]


_HIDDEN = "the driver lists this process without its memory (WDDM or WSL)"
_NONE = "NVML lists no process on this GPU (a container or WSL)"


class Owners:
    """Tells processes apart as they appear, and keeps the peaks of each.

    The child, its descendants and this process are not foreign. In a container with numbers of
    its own, the driver lists processes by the host's; then one that appeared on an empty GPU is
    taken for the child's.

    Args:
        pid: the child's, or a function that gives all that are to be summed.
        baseline: a sample from before the child began.
    """

    def __init__(
        self, pid: int | Callable[[], Iterable[int]], baseline: Sample | None = None
    ) -> None:
        self._pid = pid
        self._counted: set[int] = set() if callable(pid) else {pid}
        self._ours: set[int] = {os.getpid(), *self._counted}
        self._others: dict[int, GpuProcess] = {}  # as they were last seen
        self._elsewhere: set[int] = set()  # numbers that no process of ours has
        self._peaks: dict[int, int] = {}
        self._hidden = False  # the child is listed without its memory
        self._listed = False  # the child was listed
        before = baseline.processes if baseline else None
        self._told_before = before is not None
        self._before = {p.pid for p in before or () if not p.graphics}
        self.own_peak_bytes: int | None = None
        self._foreign_peak = 0  # without those that may be the child
        self._others_peak = 0
        self._foreign_hidden = False

    def see(self, processes: tuple[GpuProcess, ...]) -> None:
        """Take in the list of one moment."""
        if any(p.pid not in self._ours and p.pid not in self._others for p in processes):
            self._look_again()
        own: list[int | None] = []
        foreign = strange = 0
        for one in processes:
            if one.pid in self._ours:
                if one.pid in self._counted:
                    self._listed = True
                    own.append(one.used_bytes)
                continue
            self._other(one)
            self._foreign_hidden |= one.used_bytes is None
            if one.pid in self._strangers():
                strange += one.used_bytes or 0
            else:
                foreign += one.used_bytes or 0
        self._foreign_peak = max(self._foreign_peak, foreign)
        self._others_peak = max(self._others_peak, foreign + strange)
        known = [used for used in own if used is not None]
        self._hidden |= len(known) < len(own)
        if known:
            self.own_peak_bytes = max(self.own_peak_bytes or 0, sum(known))

    def figure(self) -> tuple[int | None, DebitSource | None, str]:
        """The most bytes of the child's process, how it was found, or the reason for None."""
        if self.own_peak_bytes is not None:
            return self.own_peak_bytes, "NVML, this process", ""
        if self._listed:
            return None, None, _HIDDEN
        strangers = self._strangers()
        if not strangers:
            return None, None, _NONE
        if len(strangers) == 1 and self._told_before and not self._before:
            (pid,) = strangers
            if pid in self._peaks:
                return self._peaks[pid], "NVML, the only process", ""
            return None, None, _HIDDEN
        count = len(strangers | self._before)
        return None, None, f"none of {count} processes on the GPU can be identified as this one"

    def foreign(self, *, graphics: bool) -> tuple[str, ...]:
        """Others that compute, or those that draw: name, number and peak."""
        maybe = set() if self._listed else self._strangers()
        told = [
            _words(one, self._peaks.get(one.pid))
            for one in self._others.values()
            if one.graphics == graphics and one.pid not in maybe
        ]
        if not graphics and len(maybe) > 1:
            told.append(f"{len(maybe) - 1} of {len(maybe)} processes that cannot be distinguished")
        return tuple(told)

    def foreign_peak(self) -> tuple[int | None, str]:
        """The most bytes that others held together, or the reason for None."""
        if self._foreign_hidden:
            return None, "the driver lists processes without their memory (WDDM or WSL)"
        if self._listed or not self._strangers():
            return self._others_peak, ""
        if self.figure()[0] is None:
            return None, "processes cannot be distinguished"
        return self._foreign_peak, ""

    def _other(self, one: GpuProcess) -> None:
        if one.pid not in self._others and not psutil.pid_exists(one.pid):
            self._elsewhere.add(one.pid)
        self._others[one.pid] = one
        if one.used_bytes is not None:
            self._peaks[one.pid] = max(self._peaks.get(one.pid, 0), one.used_bytes)

    def _strangers(self) -> set[int]:
        """Computing processes that appeared after the baseline and have no number of ours."""
        computing = {p.pid for p in self._others.values() if not p.graphics}
        return (computing & self._elsewhere) - self._before

    def _look_again(self) -> None:
        if callable(self._pid):
            self._counted = set(self._pid())
            self._ours |= self._counted
            return
        try:
            children = psutil.Process(self._pid).children(recursive=True)
        except psutil.Error:
            return
        self._ours |= {child.pid for child in children}


def _words(one: GpuProcess, peak: int | None) -> str:
    name = one_line(one.name).split("/")[-1][:40]
    return f"{name} ({one.pid})" + ("" if peak is None else f" {format_bytes(peak)}")
