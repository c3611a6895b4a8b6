"""One child process under a deadline, with nothing left behind.

The child leads a process group of its own, so that whatever it starts (data-loading workers) ends
with it: the parent kills the group when the child has ended for whatever reason, and a thread in
the child, which sleeps until the parent is gone, kills it if the parent dies first. Its output
goes to a file, whose last line tells why it crashed when nothing else does, next to its exit
status. Before a trial ends it kills what it has started, wherever that has gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Literal, TypeVar

from ffprof.harness.process.descendants import (
    forget,
    keep_orphans,
    kill_descendants,
    know,
    sweep_orphans,
)
from ffprof.harness.process.messages import Failed
from ffprof.harness.process.server import ensure_server, put_back, safe_start
from ffprof.harness.process.streams import open_streams

Answer = TypeVar("Answer")
NO_ANSWER = "it ended without an answer"
SERVER_ENDED = "the server that trials are forked from has ended"
LOG_TAIL_BYTES = 64 * 1024  # of a child's output, to find its last line
_ROOM_BYTES = 16 * 2**20  # of the temporary folder, for what a child prints


def signal_name(number: int) -> str:
    """``SIGKILL``, or ``SIGRTMIN+6``: real-time signals have no names of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        low = int(getattr(signal, "SIGRTMIN", number + 1))
        return f"SIGRTMIN+{number - low}" if number > low else f"signal {number}"


def why_it_ended(exitcode: int | None, output: str) -> str:
    """In words; ``output`` is the end of what it printed."""
    last = last_line(output)
    if exitcode is not None and exitcode < 0:
        name = signal_name(-exitcode)
        hint = "; the kernel does this when memory runs out" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}" + (f": {last}" if last and name != "SIGKILL" else "")
    return f"exit status {exitcode}" + (f": {last}" if last else "")


def last_line(output: str) -> str:
    """The last line that says something, cut to 800 characters."""
    lines = (line.strip() for line in reversed(output.splitlines()))
    return next((line for line in lines if line), "")[:800]


class OutputFile:
    """What a child prints, in a file without a name: nothing is left of it, and nobody removes it.

    In memory where the temporary folder is full or gone.
    """

    def __init__(self) -> None:
        self._descriptor = _unnamed_file()

    def end(self) -> Connection:
        """What the child writes to; a connection, because these are handed on to children."""
        return Connection(os.dup(self._descriptor), readable=False)

    def tail(self) -> str:
        """The end of what was printed."""
        try:
            size = os.fstat(self._descriptor).st_size
            start = max(0, size - LOG_TAIL_BYTES)
            return os.pread(self._descriptor, LOG_TAIL_BYTES, start).decode(errors="replace")
        except OSError:
            return ""

    def close(self) -> None:
        """Forget it."""
        os.close(self._descriptor)


def _unnamed_file() -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    with contextlib.suppress(OSError, AttributeError):
        place = os.statvfs(tempfile.gettempdir())
        if place.f_bavail * place.f_frsize >= _ROOM_BYTES:
            return os.open(tempfile.gettempdir(), flags | os.O_TMPFILE, 0o600)
    with contextlib.suppress(OSError, AttributeError):
        return os.memfd_create("ffprof-output")
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


_UNKILLABLE_SECONDS = 20.0
_LONGEST_PAUSE_SECONDS = 3600.0  # poll(2) takes milliseconds in 31 bits: three weeks

# What the forkserver imports once, torch with it; children forked from it start in a tenth of a
# second. Optimizers import torch._dynamo, which takes longer than a short trial.
PRELOAD = [
    "ffprof.harness.process.preload",
    "torch._dynamo",
    "ffprof.harness.gradient_check",
    "ffprof.harness.trial",
    "ffprof.estimator.peaks",
]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a child ended: with messages, at the deadline, or by crashing."""

    kind: Literal["ended", "timeout", "crashed"]
    messages: tuple[Any, ...]
    reason: str = ""
    seconds: float = 0.0

    def answer(self, kind: type[Answer]) -> Answer | Failed:
        """The first message of a kind, or else what kept the child from sending one.

        That is its limit, whatever it sent by then, the failure that it reported, or how it
        crashed. What a child took of a GPU is kept.
        """
        if self.kind == "timeout":
            debits = [found for m in self.messages if (found := getattr(m, "debit", None))]
            debit = debits[0] if debits else None
            return Failed(outcome="timeout", message=self.reason, debit=debit)
        found = next((m for m in self.messages if isinstance(m, kind)), None)
        if found is not None:
            return found
        failed = next((m for m in self.messages if isinstance(m, Failed)), None)
        return failed or Failed(outcome="crashed", message=self.reason or NO_ANSWER)


def start_context(method: str) -> BaseContext:
    """A multiprocessing context, with the preload list set for ``forkserver``."""
    open_streams()
    context = get_context(method)
    if method == "forkserver":
        # The server ignores what it cannot import, and every child would be slower, unseen.
        absent = [n for n in PRELOAD if n.startswith("ffprof.") and find_spec(n) is None]
        if absent:
            raise ImportError(f"PRELOAD names a module that does not exist: {', '.join(absent)}")
        context.set_forkserver_preload(PRELOAD)
        # Started now, ignoring Ctrl-C: it would die of one in the middle of its imports.
        with safe_start(), _interrupts_held_back():
            ensure_server()
    return context


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C is delivered afterwards; processes started meanwhile never get it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_child(
    context: BaseContext,
    target: Callable[..., None],
    args: tuple[Any, ...],
    limit_seconds: float,
    on_message: Callable[[int, Any], None] | None = None,
    tick: Callable[[], None] | None = None,
    tick_seconds: float = 0.1,
    *,
    renewed: bool = False,
) -> Ending:
    """Run ``target(connection, *args)`` in a child and wait for it.

    Args:
        context: how the child is started.
        target: a module-level function; what it sends over the connection becomes ``messages``.
        args: picklable arguments.
        limit_seconds: the child is killed when they are over.
        on_message: called with the child's pid and each message as it comes.
        tick: called about every ``tick_seconds``; without it the parent does not wake up until
            something happens.
        tick_seconds: the period of ``tick``.
        renewed: the limit begins again with every message.

    Returns:
        how it ended; ``ended`` means that it exited with status 0.
    """
    receiver, sender = context.Pipe(duplex=False)
    output = OutputFile()
    tried: list[BaseProcess] = []
    started = time.monotonic()
    try:
        try:
            child = _start(context, (sender, output, target, args), tried)
        except (EOFError, ConnectionError) as error:
            # The server has died, and once more as soon as it was started again.
            reason = f"{SERVER_ENDED} ({type(error).__name__})"
            return Ending(kind="crashed", messages=(), reason=reason)
        sender.close()
        watch = _Watch(receiver, child, limit_seconds, on_message, renewed=renewed)
        in_time = watch.until_end(tick, tick_seconds)
        took = time.monotonic() - started
        messages = tuple(watch.messages)
        if not in_time:
            reason = f"stopped after its limit of {limit_seconds:g} s"
            return Ending(kind="timeout", messages=messages, reason=reason, seconds=took)
        if child.exitcode == 0 and not watch.unreadable:
            return Ending(kind="ended", messages=messages, seconds=took)
        reason = watch.unreadable or why_it_ended(child.exitcode, output.tail())
        return Ending(kind="crashed", messages=messages, reason=reason, seconds=took)
    finally:
        for one in tried:
            _sweep(one)
        sender.close()
        receiver.close()
        output.close()


def _start(
    context: BaseContext,
    work: tuple[Connection, OutputFile, Callable[..., None], tuple[Any, ...]],
    tried: list[BaseProcess],
) -> BaseProcess:
    """Start a child; from a new server if the one that runs has died.

    ``tried`` gets it before it starts, because an interrupt may come while it does.

    Raises:
        EOFError, ConnectionError: the new one died, too.
    """
    sender, output, target, args = work
    forked = context.get_start_method() == "forkserver"
    while True:
        end = output.end()
        try:
            with safe_start() as before, _interrupts_held_back():
                if forked:
                    ensure_server()
                child: BaseProcess = context.Process(  # type: ignore[attr-defined]
                    target=_enter, args=(sender, end, before, target, args), daemon=False
                )
                tried.append(child)
                child.start()
                know(child.pid)
            return child
        except (EOFError, ConnectionError):
            if not forked or len(tried) > 1:
                raise
        finally:
            end.close()


class _Watch:
    """Collects messages until the child is gone or the deadline has passed."""

    def __init__(
        self,
        receiver: Connection,
        child: BaseProcess,
        limit: float,
        on_message: Callable[[int, Any], None] | None,
        *,
        renewed: bool,
    ) -> None:
        self._receiver, self._child, self._on_message = receiver, child, on_message
        self._limit, self._renewed, self._deadline = limit, renewed, time.monotonic() + limit
        self.messages: list[Any] = []
        self.unreadable = ""

    def until_end(self, tick: Callable[[], None] | None, tick_seconds: float) -> bool:
        """True if the child ended by itself."""
        open_ends: list[Any] = [self._receiver, self._child.sentinel]
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                return False
            pause = min(left, tick_seconds if tick else _LONGEST_PAUSE_SECONDS)
            ready = connection.wait(open_ends, timeout=pause)
            if self._receiver in ready and not self._take():
                open_ends.remove(self._receiver)
            if self._child.sentinel in ready:
                while self._receiver in open_ends and self._receiver.poll():
                    if not self._take():
                        break
                self._child.join()
                return True
            if not ready and tick:
                tick()

    def _take(self) -> bool:
        try:
            message = self._receiver.recv()
        except (EOFError, OSError):
            return False
        except (pickle.UnpicklingError, ImportError, AttributeError, ValueError) as error:
            # What the child sent cannot be read here; it must not take the audit with it.
            self.unreadable = f"its answer cannot be read: {error}"[:800]
            return True
        self.messages.append(message)
        if self._renewed:
            self._deadline = time.monotonic() + self._limit
        if self._on_message and self._child.pid:
            self._on_message(self._child.pid, message)
        return True


def _sweep(child: BaseProcess) -> None:
    """Kill the child and its group, and wait until the child is gone."""
    if child.pid is None:
        return
    kill_descendants(child.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.is_alive():
        child.kill()
    child.join(_UNKILLABLE_SECONDS)
    forget(child.pid)
    sweep_orphans()
    with contextlib.suppress(ValueError):  # it waits in the kernel, for a device that is gone
        child.close()


def _enter(
    sender: Connection,
    output: Connection,
    safe_path: str | None,
    target: Callable[..., None],
    args: tuple[Any, ...],
) -> None:
    os.setpgrp()
    keep_orphans()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if _nobody_reads(sender):  # the parent was interrupted before the server came to start this
        os._exit(1)
    put_back(safe_path)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # What the server imported is never garbage: not looking through it again keeps collections
    # short, in the timed steps too.
    gc.freeze()
    gc.enable()
    try:
        target(sender, *args)
    finally:
        kill_descendants(os.getpid())
    # Nothing is left to do: neither a thread that the workload forgot nor the libraries' exit
    # handlers may turn a finished trial into a late one.
    sender.close()
    os._exit(0)


def _nobody_reads(sender: Connection) -> bool:
    """Whether the other end of a pipe is closed."""
    poll = select.poll()
    poll.register(sender.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        kill_descendants(os.getpid())
        os.killpg(0, signal.SIGKILL)
