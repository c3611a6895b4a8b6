"""Who is on a GPU: the lists of computing and of drawing processes, each process once."""

from __future__ import annotations

from typing import Any

from ffprof.instruments.nvml.errors import NvmlError
from ffprof.instruments.nvml.library import Library
from ffprof.instruments.nvml.questions import ABSURD, Questions
from ffprof.instruments.nvml.sample import GpuProcess


class ProcessList:
    """Asks for the lists; a name is asked for once for each new process."""

    def __init__(self, library: Library, device: Questions) -> None:
        self._library, self._device = library, device
        self._names: dict[int, str] = {}
        self._drawing: list[Any] | None = None

    def look(self, *, graphics_too: bool) -> tuple[GpuProcess, ...] | None:
        """The processes now; None where those that compute are not told.

        Args:
            graphics_too: ask for those that draw, too; else they are those of last time.

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
