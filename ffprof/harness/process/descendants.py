"""What processes leave behind: descendants that left their group, and orphans.

A helper that its parent has left (a daemon) becomes a child of the next process above that has
asked for orphans, a subreaper (prctl(2)), and of init where there is none. Every trial asks for
those of its own, so that they can be found below it and end with it. The command line asks for
those of trials that were killed.

Imports nothing that takes time: every command begins with this.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

# Of sys/prctl.h.
_PARENT_DEATH_SIGNAL = 1
_CHILD_SUBREAPER = 36
_GONE_SECONDS = 5.0  # that killed processes may take to end
_TICK_SECONDS = 0.005
_adopts = [False]
_known: set[int] = set()  # children of this process that are no orphans, by their number
_lock = threading.RLock()


def _control(option: int, value: int) -> bool:
    """Whether the kernel has done it; elsewhere than on Linux there is no such call."""
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    return False


def end_with_parent(parent: int | None = None) -> None:
    """Be killed when the thread ends that has started this process.

    ``parent`` is the number of its process, which may have ended before this was asked for.
    """
    _control(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def keep_orphans() -> None:
    """Have orphans below this process become its children, for ``kill_descendants`` to find."""
    import psutil  # noqa: F401  # now: it is needed in a hurry

    _control(_CHILD_SUBREAPER, 1)


def adopt_orphans() -> None:
    """The same, and have ``sweep_orphans`` kill them: all are of trials that were killed.

    But for one that this process had before it was begun again (``ffprof.nulldevice.relaunch``).
    """
    left = os.environ.get("FFPROF_BEGUN_ON_NULL_DEVICE", "")
    know(int(left) if left.isdecimal() else None)
    _adopts[0] = _control(_CHILD_SUBREAPER, 1)


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """While a child is started that is to be known, no orphans are looked for."""
    with _lock:
        yield


def know(pid: int | None) -> None:
    """A child of this process that ``sweep_orphans`` spares."""
    if pid is not None:
        with _lock:
            _known.add(pid)


def forget(pid: int | None) -> None:
    """It has ended."""
    with _lock:
        _known.discard(pid or 0)


def kill_descendants(pid: int) -> None:
    """Also what has left the group (a session of its own), as far as it can still be found.

    Another process than this one is stopped meanwhile, so that it starts nothing in their place;
    whoever calls this kills it next.
    """
    import psutil

    if pid != os.getpid():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGSTOP)

    def descendants() -> list[psutil.Process]:
        try:
            return psutil.Process(pid).children(recursive=True)
        except psutil.Error:
            return []

    kill_all(descendants)


def kill_all(found: Callable[[], list[psutil.Process]]) -> None:
    """Kill what is found until nothing of it runs, also what it starts meanwhile.

    A signal only asks: its memory is free, and its files are closed, when a process has ended.
    """
    import psutil

    deadline, foreign = time.monotonic() + _GONE_SECONDS, set()
    while time.monotonic() < deadline:
        alive = [one for one in found() if one.pid not in foreign and not has_ended(one)]
        if not alive:
            return
        for one in alive:
            try:
                one.kill()
            except psutil.AccessDenied:  # another user's
                foreign.add(one.pid)
            except psutil.Error:
                continue
        time.sleep(_TICK_SECONDS)


def has_ended(process: psutil.Process) -> bool:
    """Whether nothing of it runs any more; also where its parent has not yet asked how.

    A process is a zombie as soon as its first thread has ended, and others may still run.
    """
    import psutil

    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return False
        return len(os.listdir(f"/proc/{process.pid}/task")) <= 1  # noqa: PTH208
    except (psutil.Error, OSError):
        return True


def sweep_orphans() -> None:
    """Kill the children of this process that it has not started, if it adopts any.

    Trials and what they start have groups of their own, and what the command itself runs has not.
    """
    if not _adopts[0]:
        return
    import psutil

    with _lock, contextlib.suppress(psutil.Error):
        ours, own = os.getpgrp(), psutil.Process()
        for one in own.children():
            with contextlib.suppress(psutil.Error, OSError):
                if one.pid in _known or os.getpgid(one.pid) == ours:
                    continue
                kill_descendants(one.pid)
                one.kill()
                one.wait(_GONE_SECONDS)  # and so it is no zombie of ours
