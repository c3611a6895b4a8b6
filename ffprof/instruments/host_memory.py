"""The process's own memory on the host, from the kernel's high-water mark.

On Linux, VmHWM in /proc/self/status is the peak resident set, and writing 5 to
/proc/self/clear_refs lowers it to the present one (proc(5)). Where that is not allowed, the mark
is the peak since the process began, start-up included, and the caller is told so.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Protocol


class HostMemory(Protocol):
    """A high-water mark of host memory."""

    def reset_peak(self) -> bool:
        """Lower the mark to what is resident now; False where the system does not allow it."""

    def peak_bytes(self) -> int | None:
        """The mark, or None where it cannot be read."""


class ProcessHostMemory:
    """The resident set of this process."""

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._proc = proc

    def reset_peak(self) -> bool:
        """See ``HostMemory``."""
        try:
            (self._proc / "clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def peak_bytes(self) -> int | None:
        """See ``HostMemory``."""
        try:
            status = (self._proc / "status").read_text()
        except OSError:
            return _rusage_peak()
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return _rusage_peak()


class FakeHostMemory:
    """A mark that is what the test says."""

    def __init__(self, peak: int | None, resettable: bool = True) -> None:
        self._peak, self._resettable = peak, resettable

    def reset_peak(self) -> bool:
        """See ``HostMemory``."""
        return self._resettable

    def peak_bytes(self) -> int | None:
        """See ``HostMemory``."""
        return self._peak


def _rusage_peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere but there
