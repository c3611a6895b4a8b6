"""One audit a GPU: two at once would take each other's memory and time.

The lock is a file in the system's temporary folder, named by the GPU. Where it cannot be had for
another reason than that somebody holds it (another user's file, no locks), there is none: the
other audit is then found as a process on the GPU.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from pathlib import Path

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
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, _READ, 0).decode(errors="replace").strip()
            os.close(descriptor)
            return f"process {holder}" if holder.isdigit() else "another process"
        except OSError:
            os.close(descriptor)
            return None
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
                return os.open(self._path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        return None
