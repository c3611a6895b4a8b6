"""Runs a learning study: each run in a process of its own, the record stored after each epoch.

Several runs at a time share the machine, so their times are marked. What ends a study early leaves
the checkpoints of runs that have not ended next to the record.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

from ffprof.errors import UsageError
from ffprof.experiments.campaign import Campaign, Outcome, Progress
from ffprof.experiments.learning.children import Children
from ffprof.experiments.learning.recorder import LearningRecorder
from ffprof.experiments.learning.request import (
    AGAIN,
    LearningRequest,
    own_settings,
    plan_runs,
    recipe_for,
    tuned_settings,
)
from ffprof.experiments.learning.search import Tuner
from ffprof.harness.process.guard import Guard
from ffprof.harness.process.messages import Assignment, EpochDone
from ffprof.records.learning import LearningRecord, LearningRun, RunSlot
from ffprof.units import format_seconds


def run_study(request: LearningRequest, progress: Progress) -> Outcome[LearningRecord]:
    """Run what is missing; the record is as far as it goes.

    Raises:
        FfprofError: something is wrong that every run would meet; what is done is stored.
    """
    gpu = request.record.machine.gpu_uuid if request.device == "cuda" else None
    guard = Guard(gpu, request.on_foreign, say=progress.says)
    campaign = Campaign(progress, guard, request.record.plan.run_limit_seconds)
    recorder = LearningRecorder(request)
    children = Children(request, campaign, recorder)
    tuner = Tuner(campaign, recorder, children)
    study = _Study(request, campaign, recorder, children)

    def work(notes: tuple[str, ...]) -> None:
        tuner.run()
        study.run()

    request.checkpoints.mkdir(exist_ok=True)
    try:
        stopped, interrupt = campaign.run(request.environment, work)
    finally:
        # Of runs that have not ended, what is in it stays; what a kill left half-written does not.
        with suppress(OSError):
            for partial in request.checkpoints.glob(".*"):
                partial.unlink()
            request.checkpoints.rmdir()
    return Outcome(record=recorder.record, stopped=stopped, interrupt=interrupt)


class _Study:
    """The runs of one study that are missing."""

    def __init__(
        self,
        request: LearningRequest,
        campaign: Campaign,
        recorder: LearningRecorder,
        children: Children,
    ) -> None:
        self._request, self._campaign, self._recorder = request, campaign, recorder
        self._children = children

    def run(self) -> None:
        """All of them, as many at a time as the plan says."""
        record = self._recorder.record
        self._children.each(self._one, plan_runs(record.missing(), record.recipe.seed))

    def _one(self, slot: RunSlot) -> None:
        recorder, record = self._recorder, self._recorder.record
        description, recipe = recorder.descriptions[slot.workload], recipe_for(record, slot)
        reason = description.objection(recipe)
        if reason:
            recorder.refuse(slot, reason)
            return
        self._campaign.admit()
        self._show(slot, len(recorder.run(slot).epochs))
        checkpoint = self._request.checkpoints / f"{slot.id}.pt"
        task, settings = record.plan.tasks[slot.task], tuned_settings(record, slot.workload)
        whole = f"{record.recipe_hash} {recipe.digest()} {task.model_dump_json()} {slot.id}"
        if settings:
            whole += f" {json.dumps(settings)}"
        assignment = Assignment(
            recipe=recipe,
            training=record.training,
            task=task,
            checkpoint=checkpoint,
            digest=hashlib.sha256(whole.encode()).hexdigest(),
            settings=own_settings(settings),
        )

        def tell(done: EpochDone) -> None:
            recorder.epochs(slot, done, self._children.others)
            self._show(slot, done.epochs[-1].number)

        try:
            ending, watching = self._children.train(description, assignment, tell)
        except UsageError as error:
            if len(record.plan.tasks) == 1:
                raise  # every run would meet it
            run = recorder.refuse(slot, f"{error.problem}; {error.fix}")
        else:
            run = recorder.end(slot, ending, watching)
        if run.outcome not in AGAIN:
            checkpoint.unlink(missing_ok=True)
        self._campaign.progress.ends(run_line(run), self._children.left())

    def _show(self, slot: RunSlot, epoch: int) -> None:
        record = self._recorder.record
        total = len(record.slots())
        self._children.show(slot.id, epoch, total - len(record.missing()), total)


def run_line(run: LearningRun) -> str:
    """A run that is over, in a line."""
    if run.accuracy is None:
        return f"{run.id:<28} {run.outcome:<9}{run.message}"
    return (
        f"{run.id:<28} {run.outcome:<9}{100 * run.accuracy:.2f} % "
        f"after {format_seconds(run.train_seconds)}"
    )
