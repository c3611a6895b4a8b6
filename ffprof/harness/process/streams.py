"""Standard input, output and errors: closed ones, full ones, and those that lack a character."""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ffprof.errors import ReaderGoneError, harmless

# What stands for a character where the console's encoding lacks it; for all others, ?.
_PLAIN = {
    "×": "x", "·": ".", "…": "...", "–": "-", "—": "-", "−": "-", "±": "+-", "≤": "<=", "≥": ">=",
    "→": "->", "µ": "u", "μ": "u", "‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ",
    "━": "-", "╸": "-", "╺": "-", "─": "-", "│": "|", "•": "*", "²": "2",
}  # fmt: skip
# How writing what is printed fails.
_OF_OUTPUT = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE,
}  # fmt: skip
_HANDLER = "ffprof-plain"


def open_streams() -> None:
    """Open what is closed of the descriptors 0 to 2 on the null device.

    Otherwise the next file or pipe has the number of one of them, and a child that sends its
    output to 1 and 2 closes the pipe by which it answers.
    """
    for number in range(3):  # the lowest first: a new descriptor is the lowest that is free
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_WRONLY if number else os.O_RDONLY)
            os.set_inheritable(opened, True)
    # Python has none where there was no descriptor when it started.
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  # for as long as this runs
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def take_every_character() -> None:
    """Have the console print something for what its encoding lacks, instead of an error."""
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # some that stand for them have no encoding
            reconfigure(errors=_HANDLER)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(one, "?") for one in lacking), error.end


def say(text: str) -> None:
    """One line of progress, in addition to the output; nothing if nobody can read it."""
    with suppress(OSError):
        print(harmless(text), file=sys.stderr, flush=True)


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """On a terminal, a line that counts seconds until this is over, and is gone then.

    For what is not timed.
    """
    if sys.stderr is None or not sys.stderr.isatty():  # a program may have closed it
        yield
        return
    over, began = threading.Event(), time.monotonic()

    def count() -> None:
        with suppress(OSError):
            while not over.is_set():
                text = f"{harmless(what)}, {time.monotonic() - began:.0f} s"
                print(f"\r{text}", end="", file=sys.stderr, flush=True)
                over.wait(1.0)
            print(f"\r{' ' * (len(what) + 12)}\r", end="", file=sys.stderr, flush=True)

    counter = threading.Thread(target=count, daemon=True)
    # A signal that is held back elsewhere must not come through here.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        counter.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        yield
    finally:
        over.set()
        counter.join()


def output_is_broken(error: BaseException) -> bool:
    """Whether an error is that what was printed cannot be written; then it is dropped.

    What could not be written is tried once more. Python keeps none of it if it was told not to.
    """
    try:
        sys.stdout.flush()
        unkept = isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase)
        broken = unkept and isinstance(error, OSError) and error.errno in _OF_OUTPUT
        broken = broken or isinstance(error, ReaderGoneError)
    except OSError:
        broken = True
    if broken:
        drop_output()
    return broken


def drop_output() -> None:
    """What is still to be written goes nowhere, so that the interpreter's own flush cannot fail."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)
