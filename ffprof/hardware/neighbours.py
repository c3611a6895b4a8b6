"""Other programs that compute next to ours: what they take, and what that does."""

from __future__ import annotations

import os
from collections.abc import Callable

from ffprof.hardware.doctor.readers.activity import Look, between, look
from ffprof.hardware.doctor.rules.processor import BUSY_CORES, STEAL

BUSY = "this machine is busy"  # what is said begins with it
_NAMED = 3


def watch(look: Callable[[], Look] = look) -> Callable[[], str]:
    """Begin to watch other programs.

    Returns:
        What says, when it is called, that the machine was busy meanwhile, and what that does;
        empty if it was not.
    """
    first = look()

    def told() -> str:
        found = between(first, look(), os.getpid())
        busy = found.busy or ()
        taken = sum(program.cores for program in busy)
        who = []
        if taken >= BUSY_CORES:
            names = ", ".join(f"{one.name} ({one.pid})" for one in busy[:_NAMED])
            more = f" and {len(busy) - _NAMED} more" if len(busy) > _NAMED else ""
            who.append(f"{names}{more} took {taken:.1f} of {os.cpu_count() or 1} CPUs")
        if found.steal is not None and found.steal >= STEAL:
            who.append(f"other virtual machines took {found.steal:.0%}")
        if not who:
            return ""
        return (
            f"{BUSY}: {' and '.join(who)} while PyTorch started; steps take longer and rounds "
            "differ more, so end what can be ended, or take more rounds and quote ratios, not rates"
        )

    return told
