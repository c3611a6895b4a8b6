"""Records a running study: complete as far as it goes, and on the disk after every epoch."""

from __future__ import annotations

import threading
from typing import Any

from ffprof.errors import one_line
from ffprof.experiments.learning.request import (
    LearningRequest,
    own_settings,
    recipe_for,
    tuned_settings,
)
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Diverged, EpochDone, Failed, Learned
from ffprof.harness.process.monitor import Watching
from ffprof.records.learning import LearningRecord, LearningRun, RunSlot
from ffprof.records.plausibility import plausible_run
from ffprof.records.recipe import Recipe
from ffprof.records.redaction import recorded
from ffprof.records.search import Search, SearchTrial, TrialOutcome
from ffprof.records.store import save
from ffprof.records.trial import Conditions
from ffprof.workload import Description


class LearningRecorder:
    """Puts epochs and endings into the record, and stores it; runs may tell at the same time."""

    def __init__(self, request: LearningRequest) -> None:
        self._request, self._lock = request, threading.Lock()
        self.record: LearningRecord = request.record
        self.descriptions = {one.id: one for one in request.workloads}

    def run(self, slot: RunSlot) -> LearningRun:
        """What is known of a run, or an empty one."""
        found = next((run for run in self.record.runs if run.id == slot.id), None)
        if found is not None:
            return found
        one, recipe = self.descriptions[slot.workload], recipe_for(self.record, slot)
        return LearningRun(
            id=slot.id,
            workload=slot.workload,
            method=one.method,
            schedule=one.schedule,
            family=one.family,
            task=slot.task,
            seed=slot.seed,
            micro_batch=one.micro_batch(recipe),
            device=self._request.device,
            outcome="unfinished",
            settings=all_settings(
                recipe, one.tuned(own_settings(tuned_settings(self.record, slot.workload)))
            ),
        )

    def epochs(self, slot: RunSlot, done: EpochDone, beside: int) -> None:
        """Add epochs; those of a checkpoint take the place of all that are known."""
        with self._lock:
            run = self.run(slot)
            update: dict[str, object] = {"beside": max(run.beside, beside)}
            if done.restored:
                update |= {"epochs": done.epochs, "resumed": run.resumed + 1}
            elif done.epochs[0].number == 1:
                update["epochs"] = done.epochs
            else:
                update["epochs"] = (*run.epochs, *done.epochs)
            if done.epochs[-1].number == self.record.training.epochs:  # what follows is the test
                update["test_reads"] = run.test_reads + 1
            self._put(run.model_copy(update=update))

    def end(self, slot: RunSlot, ending: Ending, watching: Watching) -> LearningRun:
        """Store how a run ended."""
        found = ending.answer(Learned)
        method = self._request.context.get_start_method() or ""
        told: dict[str, Any] = {"start_method": method, "wall_seconds": ending.seconds}
        with self._lock:
            run = self.run(slot)
            if isinstance(found, Learned):
                conditions = found.conditions.model_copy(update=told)
                update: dict[str, object] = {
                    "outcome": "ok",
                    "message": "",
                    "test": found.test,
                    "memory": watching.memory(found.memory),
                    "conditions": watching.add_to(conditions),
                    "energy": watching.energy(),
                    "debit": found.debit,
                    "rules": found.rules,
                    "parameters": found.parameters,
                    "training_images": found.training_images,
                    "steps": found.steps,
                }
            else:
                outcome, message = failure(ending, found)
                update = {
                    "outcome": outcome,
                    "message": recorded(one_line(message), 1000),
                    "conditions": watching.add_to(Conditions(**told)),
                    "debit": found.debit,
                }
            run = plausible_run(run.model_copy(update=update))
            self._put(run)
        return run

    def refuse(self, slot: RunSlot, reason: str) -> LearningRun:
        """Store that a run was not begun."""
        failed = Failed(outcome="refused", message=reason)
        return self.end(slot, Ending(kind="ended", messages=(failed,)), Watching())

    def trial(self, search: Search, trial: SearchTrial) -> None:
        """Store a trial of a search."""
        with self._lock:
            found = {one.workload: one for one in self.record.searches}
            found[search.workload] = search.with_trial(trial)
            planned = self.record.plan.workloads
            searches = tuple(found[name] for name in planned if name in found)
            self.record = self.record.model_copy(update={"searches": searches})
            save(self.record, self._request.path)

    def _put(self, run: LearningRun) -> None:
        others = {one.id: one for one in self.record.runs} | {run.id: run}
        planned = [slot.id for slot in self.record.slots()]
        runs = tuple(others[name] for name in planned if name in others)
        self.record = self.record.model_copy(update={"runs": runs})
        save(self.record, self._request.path)


def failure(ending: Ending, failed: Failed) -> tuple[TrialOutcome, str]:
    """How a process ended that did not end well, and why."""
    diverged = next((m for m in ending.messages if isinstance(m, Diverged)), None)
    if diverged is not None:
        return "diverged", diverged.message
    return failed.outcome, failed.message


def all_settings(recipe: Recipe, description: Description) -> dict[str, float]:
    """Learning rate and weight decay of a recipe, and the workload's own settings."""
    optimizer = recipe.optimizer
    own = {one.name: one.default for one in description.settings}
    return {"learning_rate": optimizer.lr, "weight_decay": optimizer.weight_decay, **own}
