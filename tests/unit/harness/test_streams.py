"""A line that counts while something is waited for."""

import contextlib
import os
import pty
import re
import time

import pytest

from ffprof.harness.process.streams import waiting_for


@contextlib.contextmanager
def terminal():
    """Standard error is one; what it was sent is there in the end."""
    ours, theirs = pty.openpty()
    sent, read = [], b""
    try:
        with open(theirs, "w", encoding="utf-8") as stream, contextlib.redirect_stderr(stream):  # noqa: PTH123
            yield sent
    finally:
        with contextlib.suppress(OSError):  # so its end is told
            while more := os.read(ours, 10_000):
                read += more
        os.close(ours)
        sent.append(read.decode())


def test_it_counts_and_is_gone_in_the_end():
    with terminal() as sent, waiting_for("starting a thing"):
        time.sleep(1.2)
    (shown,) = sent
    assert re.search(r"\rstarting a thing, 0 s\rstarting a thing, 1 s\r", shown)
    assert shown.endswith("\r")
    assert not shown.rstrip("\r").rpartition("\r")[2].strip()


def test_an_error_passes_and_nothing_is_left_on_the_line():
    with pytest.raises(KeyError), terminal() as sent, waiting_for("starting a thing"):
        raise KeyError
    assert sent[0].endswith(" \r")


def test_a_pipe_is_told_nothing(capsys):
    with waiting_for("starting a thing"):
        pass
    assert capsys.readouterr() == ("", "")
