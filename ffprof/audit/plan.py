"""The order of trials: rounds over all workloads, each shuffled by the seed.

Trials of one round are neighbours in time, so they are paired: what drifts slowly (heat, other
users of the machine) hits them alike, and what comes first in a round is left to chance.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One planned trial."""

    round: int
    position: int
    workload: str

    @property
    def id(self) -> str:
        """The trial's name in the record."""
        return f"r{self.round:02d}-p{self.position:02d}-{self.workload}"


def plan_rounds(workloads: Sequence[str], rounds: int, seed: int) -> list[Slot]:
    """All slots in the order in which they are to be run."""
    slots = []
    for number in range(rounds):
        order = list(workloads)
        random.Random(f"{seed}/{number}").shuffle(order)
        slots += [
            Slot(round=number, position=position, workload=workload)
            for position, workload in enumerate(order)
        ]
    return slots
