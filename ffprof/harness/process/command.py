"""A command of the user in a process group of its own, under a deadline, with nothing left behind.

What it prints, on either stream, goes to standard error, so that standard output is ffprof's; its
end is kept, because its last line tells why it failed when nothing else does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import psutil

from ffprof.errors import UsageError
from ffprof.harness.process.child import LOG_TAIL_BYTES, last_line
from ffprof.harness.process.descendants import (
    end_with_parent,
    forget,
    kill_all,
    kill_descendants,
    know,
    sweep_orphans,
)

_TICK_SECONDS = 0.05
_OUTPUT_SECONDS = 2.0  # that the last output is waited for


@dataclass(frozen=True, kw_only=True)
class CommandEnding:
    """How a command ended: its exit status (negative: a signal), or that it was stopped.

    ``late``: its time limit was over; ``last_line`` is the last that it printed.
    """

    status: int | None
    late: bool
    last_line: str
    seconds: float


def run_command(
    words: Sequence[str],
    environment: Mapping[str, str],
    limit_seconds: float,
    is_done: Callable[[], bool] = lambda: False,
    grace_seconds: float = 20.0,
    marked_by: str = "",
) -> CommandEnding:
    """Run a command until it ends, its limit is over, or it does not end though it is done.

    Args:
        words: the program and its arguments; it reads nothing from standard input.
        environment: all its variables.
        limit_seconds: after them the command and all that it started is killed.
        is_done: whether there is nothing left to do; asked many times a second.
        grace_seconds: that it may take to end after that.
        marked_by: a variable that only what this command started has with its value; by it also
            what left the process group is found at the end.

    Raises:
        UsageError: there is no such program.
    """
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            list(words),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    except OSError as error:
        raise UsageError(
            f"{words[0]} cannot be started: {error.strerror or error}",
            "write the command after -- as you would in a shell",
        ) from error
    know(process.pid)
    assert process.stdout is not None
    output = _Output(process.stdout)
    late, done_at = False, None
    try:
        while process.poll() is None:
            now = time.monotonic()
            if done_at is None and is_done():
                done_at = now
            if done_at is not None and now - done_at > grace_seconds:
                break
            if now - began > limit_seconds:
                late = done_at is None
                break
            time.sleep(_TICK_SECONDS)
        status = process.poll()
    finally:
        _sweep(process)
        _sweep_marked(marked_by, environment.get(marked_by))
        output.finish()
    return CommandEnding(
        status=status, late=late, last_line=output.last_line, seconds=time.monotonic() - began
    )


class _Output:
    """Hands on what is printed, and keeps its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._tail = stream, b""
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(self._stream.fileno(), 65536):
                self._tail = (self._tail + piece)[-LOG_TAIL_BYTES:]
                with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                    sys.stderr.write(piece.decode(errors="replace"))
                    sys.stderr.flush()

    def finish(self) -> None:
        """Wait for the rest; who still holds the other end has left the group and is not ours."""
        self._thread.join(_OUTPUT_SECONDS)
        if not self._thread.is_alive():
            self._stream.close()

    @property
    def last_line(self) -> str:
        return last_line(self._tail.decode(errors="replace"))


def _sweep(process: subprocess.Popen[bytes]) -> None:
    """Kill all that the command has started."""
    kill_descendants(process.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    forget(process.pid)
    sweep_orphans()


def _sweep_marked(name: str, value: str | None) -> None:
    """Kill what has left the group and outlived who started it."""
    if not name or value is None:
        return

    def is_marked(one: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error, OSError):
            return one.pid != os.getpid() and one.environ().get(name) == value
        return False

    kill_all(lambda: [one for one in psutil.process_iter() if is_marked(one)])
