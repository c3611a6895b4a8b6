"""Runs a learning study: each run in a process of its own, the record stored after each epoch.

Several runs at a time share the machine, so their times are marked. What ends a study early leaves
the checkpoints of runs that have not ended next to the record.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from ffprof.errors import FfprofError
from ffprof.experiments.attempt import hold_for, watched
from ffprof.experiments.campaign import Campaign, Outcome, Progress
from ffprof.experiments.learning.recorder import LearningRecorder
from ffprof.experiments.learning.request import LearningRequest, plan_runs, recipe_for
from ffprof.harness.process.guard import Guard
from ffprof.harness.process.messages import Assignment, EpochDone
from ffprof.harness.worker import learning_child
from ffprof.records.learning import LearningRecord, LearningRun, RunSlot
from ffprof.units import format_seconds
from ffprof.workload.user_file import address


def run_study(request: LearningRequest, progress: Progress) -> Outcome[LearningRecord]:
    """Run what is missing; the record is as far as it goes.

    Raises:
        FfprofError: something is wrong that every run would meet; what is done is stored.
    """
    gpu = request.record.machine.gpu_uuid if request.device == "cuda" else None
    guard = Guard(gpu, request.on_foreign, say=progress.says)
    campaign = Campaign(progress, guard, request.record.plan.run_limit_seconds)
    recorder = LearningRecorder(request)
    study = _Study(request, campaign, recorder)
    request.checkpoints.mkdir(exist_ok=True)
    try:
        stopped, interrupt = campaign.run(request.environment, lambda notes: study.run())
    finally:
        # Of runs that have not ended, what is in it stays.
        with suppress(OSError):
            request.checkpoints.rmdir()
    return Outcome(record=recorder.record, stopped=stopped, interrupt=interrupt)


class _EndedError(Exception):
    """Another run, or the user, has ended the study."""


class _Study:
    """The runs of one study that are missing."""

    def __init__(
        self, request: LearningRequest, campaign: Campaign, recorder: LearningRecorder
    ) -> None:
        self._request, self._campaign, self._recorder = request, campaign, recorder
        self._over = threading.Event()
        self._running = 0
        self._lock = threading.Lock()
        record = request.record
        self._slots = plan_runs(record.missing(), record.recipe.seed)
        self._total = len(record.slots())
        self._first = campaign.now()
        self._trained = 0  # epochs that were trained since then

    def run(self) -> None:
        """All of them, as many at a time as the plan says."""
        jobs = self._request.record.plan.jobs
        if jobs == 1:
            for slot in self._slots:
                self._one(slot, None)
            return
        waiting, running = list(self._slots), set[Future[None]]()
        with ThreadPoolExecutor(jobs) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < jobs:
                        running.add(pool.submit(self._one, waiting.pop(0), self._stop_if_over))
                    done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                    for one in done:
                        one.result()
            finally:
                self._over.set()  # before the pool waits for those that still run

    def _stop_if_over(self) -> None:
        if self._over.is_set():
            raise _EndedError

    def _one(self, slot: RunSlot, tick: Callable[[], None] | None) -> None:
        recorder, campaign, record = self._recorder, self._campaign, self._recorder.record
        description, recipe = recorder.descriptions[slot.workload], recipe_for(record, slot)
        reason = description.objection(recipe)
        if reason:
            recorder.refuse(slot, reason)
            return
        campaign.admit()
        limit = campaign.limit(record.plan.trial_limit_seconds)
        known = recorder.run(slot).epochs
        self._show(slot, len(known))
        checkpoint = self._request.checkpoints / f"{slot.id}.pt"
        task = record.plan.tasks[slot.task]
        whole = f"{record.recipe_hash} {recipe.digest()} {task.model_dump_json()} {slot.id}"
        assignment = Assignment(
            recipe=recipe,
            training=record.training,
            task=task,
            checkpoint=checkpoint,
            digest=hashlib.sha256(whole.encode()).hexdigest(),
        )
        with self._lock:
            self._running += 1

        def tell(message: Any) -> None:
            if isinstance(message, EpochDone):
                recorder.epochs(slot, message, self._running - 1)
                if not message.restored:
                    self._trained += len(message.epochs)
                self._show(slot, message.epochs[-1].number)

        try:
            ending, watching = watched(
                self._request.context,
                learning_child,
                (
                    address(description),
                    assignment,
                    self._request.device,
                    hold_for(record.budget, record.evidence),
                ),
                limit,
                campaign.guard if self._request.device == "cuda" else None,
                gpu=self._request.device == "cuda",
                tell=tell,
                tick=tick,
            )
        except _EndedError:
            return
        finally:
            with self._lock:
                self._running -= 1
        campaign.charge(ending.kind == "timeout", limit, record.plan.trial_limit_seconds)
        wrong = next((m for m in ending.messages if isinstance(m, FfprofError)), None)
        if wrong is not None:
            raise wrong
        run = recorder.end(slot, ending, watching)
        checkpoint.unlink(missing_ok=True)
        campaign.progress.ends(run_line(run), self._left())

    def _show(self, slot: RunSlot, epoch: int) -> None:
        """Tell where a run is; drawing it takes milliseconds an epoch."""
        record = self._recorder.record
        done = self._total - len(record.missing())
        text = f"{slot.id} epoch {epoch}/{record.training.epochs}"
        self._campaign.progress.starts(text, done, self._total, self._left())

    def _left(self) -> float | None:
        """A forecast of the rest by the epochs so far."""
        record = self._recorder.record
        if not self._trained:
            return None
        each = (self._campaign.now() - self._first) / self._trained
        known = {run.id: len(run.epochs) for run in record.runs if run.outcome == "unfinished"}
        epochs = record.training.epochs
        return each * sum(epochs - known.get(slot.id, 0) for slot in record.missing())


def run_line(run: LearningRun) -> str:
    """A run that is over, in a line."""
    if run.accuracy is None:
        return f"{run.id:<28} {run.outcome:<9}{run.message}"
    return (
        f"{run.id:<28} {run.outcome:<9}{100 * run.accuracy:.2f} % "
        f"after {format_seconds(run.train_seconds)}"
    )
