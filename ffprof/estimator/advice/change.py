"""A change that can be tried on a training step: its name, how it is made by hand, what it alters.

Whether it keeps the mathematics is said with it: ``same`` gives the same gradients up to the order
of sums, ``rounding`` computes in a shorter format, ``method`` trains otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from ffprof.estimator.advice.scene import Build
from ffprof.records.estimate import Effect


@dataclass
class Extra:
    """What a change costs that the operators of the step do not tell.

    ``link_bytes``: what went over the link to the host and back since the step began.
    ``part_times``: how often forward and backward run for each time that they are traced.
    """

    link_bytes: int = 0
    part_times: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change.

    ``id`` is what ``--show`` takes, ``title`` what a line of advice says, ``code`` the change made
    by hand in Python. Of one ``family`` only one can be made. ``applied`` gives the changed
    ``build`` while its context lasts. ``note`` is what else it does. ``precision`` is what
    products are computed in, if it says; ``allocator`` a setting instead of a change of the step.
    ``sure`` is false where it depends on what cannot be seen whether the effect is that; the note
    says on what. ``parts`` are the micro-batches that a batch is cut into.
    """

    id: str
    title: str
    family: str
    effect: Effect
    code: str
    applied: Callable[[Build, Extra], AbstractContextManager[Build]]
    note: str = ""
    precision: Literal["bf16", "fp16", ""] = ""
    channels_last: bool = False
    allocator: str = ""
    parts: int = 1
    sure: bool = True
