"""What became of one figure of a workload between two records, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SpeedFinding = Literal[
    "faster", "same", "not slower", "slower", "not faster", "inconclusive", "ratio only"
]


@dataclass(frozen=True, kw_only=True)
class SpeedChange:
    """The speed of a workload after, as a multiple of that before.

    ``ratio`` is of speeds relative to the other workloads of the same rounds (``relative``), or of
    images per second (``absolute``). ``low`` and ``high`` hold for all workloads and looks
    together in 99 of 100 comparisons; None below the first look. ``rounds`` were had before and
    after; ``reference`` says in words what a relative speed is relative to. ``because`` says why
    there is no verdict.
    """

    workload: str
    relative: bool
    ratio: float
    low: float | None
    high: float | None
    rounds: tuple[int, int]
    finding: SpeedFinding
    reference: str = ""
    because: str = ""
