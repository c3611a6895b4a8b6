"""The request of an audit, and the order of its trials.

Trials come in rounds over all workloads, each shuffled by the seed. Those of one round are
neighbours in time, so they are paired: what drifts slowly (heat, other users of the machine) hits
them alike, and what comes first in a round is left to chance.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path

from ffprof.estimator.target import Target
from ffprof.harness.process.guard import Policy
from ffprof.records.audit import Device, Record
from ffprof.workload import Description


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


@dataclass(frozen=True, kw_only=True)
class Request:
    """An audit to be run: a record, empty or begun, and how to fill it.

    With a ``target`` nothing is measured: trials are estimated for it. ``on_foreign`` says what to
    do about processes of others on the GPU. ``environment`` is set while it runs; None removes a
    variable. ``keeps_speeds``: also those of a null device, which say how long PyTorch took to
    queue the work.
    """

    record: Record
    workloads: tuple[Description, ...]
    device: Device
    path: Path
    context: BaseContext
    target: Target | None = None
    on_foreign: Policy = "warn"
    environment: dict[str, str | None] = field(default_factory=dict)
    keeps_speeds: bool = False
