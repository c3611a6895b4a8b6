"""Standard input, output and errors, which a shell or a service may have closed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


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
            with suppress(OSError):
                os.set_inheritable(opened, True)
    # Python has none where there was no descriptor when it started.
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115, PTH123  # for as long as this runs
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115, PTH123
