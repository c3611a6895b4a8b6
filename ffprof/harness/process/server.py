"""How processes are started: the server that trials are forked from, and children of any kind.

Nothing of the current folder is executed: an interpreter that is started with ``-c``, as
multiprocessing does, looks there first for every module, so a ``torch.py`` or ``enum.py`` of the
user's would be run in place of the real one. And nothing is left in the temporary folder: the
socket that the server listens on has no name once it is open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from multiprocessing import forkserver, process, resource_tracker
from pathlib import Path
from typing import Any

from ffprof.harness.process.descendants import starting
from ffprof.harness.process.preload import STARTED_BY

SAFE_PATH = "PYTHONSAFEPATH"
# A socket's name has 107 bytes (unix(7)); the server's is a slash and a file name of 17.
_LONGEST_FOLDER = 107 - 20
_FOLDERS = (None, "/tmp", "/var/tmp", "/dev/shm")  # where the usual one will not do


@contextlib.contextmanager
def safe_start() -> Iterator[str | None]:
    """Interpreters started meanwhile do not look for modules in the current folder.

    Gives what the variable that does this was before, for them to put it back: what a workload
    starts is its own affair.
    """
    with starting():
        before, path = os.environ.get(SAFE_PATH), sys.path
        os.environ[SAFE_PATH] = "1"
        # Children get a copy, in which the empty entry would be the current folder.
        sys.path = [one for one in path if one]
        try:
            yield before
        finally:
            sys.path = path
            put_back(before)


def put_back(before: str | None) -> None:
    """Undo what ``safe_start`` does, in a process that was started by it."""
    if before is None:
        os.environ.pop(SAFE_PATH, None)
    else:
        os.environ[SAFE_PATH] = before


def ensure_server() -> None:
    """Start the server unless it runs; within ``safe_start``.

    Raises:
        OSError: there is nowhere to put its socket.
    """
    # The tracker comes first: starting it lets signals through that are held back, such as Ctrl-C.
    # One that was killed is started again, without a word: nothing that it tracks is used here.
    warnings.filterwarnings("ignore", "resource_tracker: process died")
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    server: Any = getattr(forkserver, "_forkserver", None)
    config: Any = getattr(process.current_process(), "_config", None)
    if server is None or config is None or _runs(server):
        forkserver.ensure_running()
        return
    before = config.get("tempdir")
    folder = _short_folder()
    config["tempdir"] = str(folder)
    if threading.current_thread() is threading.main_thread():
        os.environ[STARTED_BY] = str(os.getpid())  # it would end with another thread
    try:
        forkserver.ensure_running()
        _make_nameless(server, folder)
    finally:
        os.environ.pop(STARTED_BY, None)
        config["tempdir"] = before
        with contextlib.suppress(OSError):
            folder.rmdir()


def _runs(server: Any) -> bool:
    pid = getattr(server, "_forkserver_pid", None)
    if pid is None:
        return False
    with contextlib.suppress(OSError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False


def _short_folder() -> Path:
    problem: OSError | None = None
    for place in _FOLDERS:
        try:
            folder = Path(tempfile.mkdtemp(prefix="ffprof-", dir=place))
        except OSError as error:
            problem = problem or error
            continue
        if len(os.fsencode(folder)) <= _LONGEST_FOLDER:
            return folder
        folder.rmdir()
    raise problem or OSError("no temporary folder has a name that is short enough for a socket")


def _make_nameless(server: Any, folder: Path) -> None:
    """Remove the name of the server's socket; it is found by a descriptor from now on."""
    address = getattr(server, "_forkserver_address", None)
    if not isinstance(address, str) or not address.startswith(f"{folder}/"):
        return
    held = os.open(address, os.O_PATH | os.O_CLOEXEC) if hasattr(os, "O_PATH") else -1
    nameless = f"/proc/self/fd/{held}"
    if held >= 0 and Path(nameless).exists():
        server._forkserver_address = nameless
        Path(address).unlink()
