"""The request of a learning study, and the order of its runs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path

from ffprof.harness.process.guard import Policy
from ffprof.records.audit import Device
from ffprof.records.learning import LearningRecord, RunSlot
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.settings import SHARED_SETTINGS

# Endings that another attempt may not have: --resume goes on with these runs.
AGAIN = ("timeout", "crashed")


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


def recipe_for(
    record: LearningRecord, slot: RunSlot, settings: Mapping[str, float] | None = None
) -> Recipe:
    """The recipe of one run: its seed, as many outputs as its task has classes, and its settings.

    Args:
        record: the study.
        slot: the run.
        settings: learning rate and weight decay; those that its workload's search found, if not
            given, and the study's where there was none.
    """
    task, optimizer = record.plan.tasks[slot.task], record.recipe.optimizer
    found = tuned_settings(record, slot.workload) if settings is None else settings
    changed = {
        "lr": found.get("learning_rate", optimizer.lr),
        "weight_decay": found.get("weight_decay", optimizer.weight_decay),
    }
    return record.recipe.model_copy(
        update={
            "seed": slot.seed,
            "classes": task.classes,
            "optimizer": optimizer.model_copy(update=changed),
        }
    )


def tuned_settings(record: LearningRecord, workload: str) -> dict[str, float]:
    """What the search of a workload found; nothing without one."""
    search = record.search(workload)
    return {} if search is None else search.settings


def own_settings(settings: Mapping[str, float]) -> dict[str, float]:
    """Those that are not of the optimizer but of the method."""
    return {name: value for name, value in settings.items() if name not in SHARED_SETTINGS}


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
