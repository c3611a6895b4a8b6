"""Other programs that compute next to ours: what they take, and what that does."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from ffprof.hardware.doctor.readers.activity import Look, between, look
from ffprof.hardware.doctor.rules.processor import BUSY_CORES, STEAL

BUSY = "this machine is busy"  # what is said begins with it
_NAMED = 3


class Crowd(NamedTuple):
    """What other programs took of all processors, 0 to 1, and that in words, if it matters."""

    share: float
    told: str


def watch(meanwhile: str, look: Callable[[], Look] = look) -> Callable[[], Crowd]:
    """Begin to watch other programs.

    Args:
        meanwhile: until when, in words: ``while PyTorch started``.
        look: how to look once.

    Returns:
        What says, when it is called, how busy the machine was meanwhile, and what that does.
    """
    first = look()

    def told() -> Crowd:
        found = between(first, look(), os.getpid())
        busy = found.busy or ()
        taken, processors = sum(program.cores for program in busy), os.cpu_count() or 1
        share, who = taken / processors, []
        if taken >= BUSY_CORES:
            names = ", ".join(f"{one.name} ({one.pid})" for one in busy[:_NAMED])
            more = f" and {len(busy) - _NAMED} more" if len(busy) > _NAMED else ""
            who.append(f"{names}{more} took {taken:.1f} of {processors} CPUs")
        if found.steal is not None and found.steal >= STEAL:
            who.append(f"other virtual machines took {found.steal:.0%}")
        if not who:
            return Crowd(share, "")
        return Crowd(
            share,
            f"{BUSY}: {' and '.join(who)} {meanwhile}; steps take longer and rounds "
            "differ more, so end what can be ended, or take more rounds and quote ratios, not "
            "rates",
        )

    return told
