"""The request of a learning study, and the order of its runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path

from ffprof.harness.process.guard import Policy
from ffprof.records.audit import Device
from ffprof.records.learning import LearningRecord, RunSlot
from ffprof.records.recipe import Recipe
from ffprof.workload import Description


@dataclass(frozen=True, kw_only=True)
class LearningRequest:
    """A study to be run: a record, empty or begun, and how to fill it.

    ``environment`` is set while it runs; None removes a variable.
    """

    record: LearningRecord
    workloads: tuple[Description, ...]
    device: Device
    path: Path
    context: BaseContext
    on_foreign: Policy = "warn"
    environment: dict[str, str | None] = field(default_factory=dict)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints of runs that have not ended."""
        return self.path.with_name(f"{self.path.stem}-checkpoints")


def recipe_for(record: LearningRecord, slot: RunSlot) -> Recipe:
    """The recipe of one run: its seed, and as many outputs as its task has classes."""
    task = record.plan.tasks[slot.task]
    return record.recipe.model_copy(update={"seed": slot.seed, "classes": task.classes})


def plan_runs(slots: Sequence[RunSlot], seed: int) -> list[RunSlot]:
    """The runs in their order: one seed after the other, each shuffled.

    So a study that is ended early has whole seeds, which are what verdicts are paired by.
    """
    ordered: list[RunSlot] = []
    for one in dict.fromkeys(slot.seed for slot in slots):
        of_seed = [slot for slot in slots if slot.seed == one]
        random.Random(f"{seed}/{one}").shuffle(of_seed)
        ordered += of_seed
    return ordered
