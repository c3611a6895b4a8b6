"""Every error that ffprof raises on purpose, with the exit code it leads to.

An error is one line: what is wrong, and what to do about it. Only ``ffprof.cli`` prints errors
or exits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar


class FfprofError(Exception):
    """Base of all deliberate errors; ``problem`` says what is wrong, ``fix`` what to do."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problem: str, fix: str) -> None:
        self.problem = one_line(problem)
        self.fix = one_line(fix)
        super().__init__(self.problem, self.fix)

    def __str__(self) -> str:
        return f"{self.problem}; {self.fix}" if self.fix else self.problem


class ReaderGoneError(BrokenPipeError):
    """Nobody reads what is printed any more, which is no error of ours."""


def one_line(text: str) -> str:
    """White space becomes single blanks; what a terminal might obey becomes a question mark."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


# A runner obeys lines that begin with two colons, and older commands anywhere in a line. A long
# word may be cut where a line ends, so its commands are looked for inside of words, too.
_COMMAND = re.compile(
    r"(^|\s)::|##(vso|teamcity)?\[|"
    r"::(?=(error|warning|notice|debug|group|endgroup|echo|[a-z]+-[a-z-]+)\b[^:]*::)",
    re.IGNORECASE,
)


def harmless(text: str) -> str:
    """On one line, and nothing that a terminal or the runner of a CI job obeys."""
    return defused(one_line(text))


def defused(text: str) -> str:
    """Without commands for the runner of a CI job."""
    return _COMMAND.sub(lambda found: found[0].replace("::", ": :").replace("[", " ["), text)


def did_you_mean(word: str, known: Iterable[str], names: Mapping[str, str] | None = None) -> str:
    """``did you mean bp? `` with a blank behind; empty where nothing is spelled like ``word``.

    Args:
        word: what was written.
        known: what it might have been.
        names: what that is called, where it is called otherwise.
    """
    word = {"gpu": "cuda", "float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}.get(word, word)
    cutoff = 0.5 if len(word) <= 3 else 0.6  # of two letters, both may have changed places
    from difflib import get_close_matches  # of errors only

    near = [
        (names or {}).get(one, one)
        for one in get_close_matches(word[:100], list(known), n=3, cutoff=cutoff)
    ]
    return f"did you mean {' or '.join(near)}? " if near else ""


class UsageError(FfprofError):
    """The command or the recipe is contradictory or not possible."""


class UntraceableError(UsageError):
    """A training step does something that cannot be followed on tensors without values."""


class RecordError(FfprofError):
    """A result file is absent, damaged, hostile or written by a newer ffprof."""


class ForeignFileError(RecordError):
    """A file is none of ffprof's, or a result of another kind than is needed."""


class DataError(FfprofError):
    """Images cannot be read from where they were requested.

    Raised inside a trial it becomes the outcome ``crashed`` of that trial.
    """


class StoreError(FfprofError):
    """A result file cannot be written where it was requested."""


class DeviceError(FfprofError):
    """The device that was requested is not on this machine."""

    exit_code = 3


class NothingMeasuredError(FfprofError):
    """No trial gave a number."""

    exit_code = 3


class UnmeasuredError(FfprofError):
    """Some of what was requested has no figures, so there is no answer."""

    exit_code = 4


class RefusedError(FfprofError):
    """A workload does not keep to what the recipe fixes, so it may not stand in the table.

    Raised inside a trial; it becomes the outcome ``refused`` of that trial.
    """


class NullDeviceError(FfprofError):
    """A null CUDA device cannot be built or described."""

    exit_code = 3
