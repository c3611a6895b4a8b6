"""Starts the processes of a study, one or several at a time, and forecasts how long it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TypeVar

from ffprof.errors import FfprofError
from ffprof.experiments.attempt import hold_for, watched
from ffprof.experiments.campaign import Campaign
from ffprof.experiments.learning.recorder import LearningRecorder
from ffprof.experiments.learning.request import LearningRequest
from ffprof.harness.process.child import Ending
from ffprof.harness.process.messages import Assignment, EpochDone
from ffprof.harness.process.monitor import Watching
from ffprof.harness.worker import learning_child
from ffprof.workload import Description
from ffprof.workload.user_file import address

Piece = TypeVar("Piece")


class _EndedError(Exception):
    """Another process of the study, or the user, has ended it."""


class Children:
    """The processes of one study."""

    def __init__(
        self, request: LearningRequest, campaign: Campaign, recorder: LearningRecorder
    ) -> None:
        self._request, self._campaign, self._recorder = request, campaign, recorder
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._running = 0
        self._first = campaign.now()
        self._trained = 0  # epochs that were trained since then

    def each(self, work: Callable[[Piece], None], pieces: Sequence[Piece]) -> None:
        """Do the work of every piece, as many at a time as the plan says."""
        jobs = self._request.record.plan.jobs
        if jobs == 1:
            for piece in pieces:
                work(piece)
            return

        def unless_over(piece: Piece) -> None:
            with suppress(_EndedError):
                work(piece)

        waiting, running = list(pieces), set[Future[None]]()
        with ThreadPoolExecutor(jobs) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < jobs:
                        running.add(pool.submit(unless_over, waiting.pop(0)))
                    done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                    for one in done:
                        one.result()
            finally:
                if waiting or running:
                    self._over.set()  # before the pool waits for those that still run

    def train(
        self, description: Description, assignment: Assignment, tell: Callable[[EpochDone], None]
    ) -> tuple[Ending, Watching]:
        """Train a workload in a process of its own; ``tell`` hears of its epochs.

        Raises:
            FfprofError: something is wrong that every process would meet.
            StoppedError: the study goes no further.
        """
        request, campaign, record = self._request, self._campaign, self._recorder.record
        limit = campaign.limit(record.plan.trial_limit_seconds)

        def hear(message: object) -> None:
            if isinstance(message, EpochDone):
                if not message.restored:
                    self._trained += len(message.epochs)
                tell(message)

        with self._lock:
            self._running += 1
        try:
            ending, watching = watched(
                request.context,
                learning_child,
                (
                    address(description),
                    assignment,
                    request.device,
                    hold_for(record.budget, record.evidence),
                ),
                limit,
                campaign.guard if request.device == "cuda" else None,
                gpu=request.device == "cuda",
                tell=hear,
                tick=None if record.plan.jobs == 1 else self._stop_if_over,
            )
        finally:
            with self._lock:
                self._running -= 1
        campaign.charge(ending.kind == "timeout", limit, record.plan.trial_limit_seconds)
        wrong = next((m for m in ending.messages if isinstance(m, FfprofError)), None)
        if wrong is not None:
            raise wrong
        return ending, watching

    def _stop_if_over(self) -> None:
        if self._over.is_set():
            raise _EndedError

    @property
    def others(self) -> int:
        """How many run beside the one that asks."""
        return self._running - 1

    def left(self) -> float | None:
        """A forecast of the rest in seconds, by the epochs so far."""
        record = self._recorder.record
        if not self._trained:
            return None
        each = (self._campaign.now() - self._first) / self._trained
        known = {run.id: len(run.epochs) for run in record.runs if run.outcome == "unfinished"}
        epochs = record.training.epochs
        runs = sum(epochs - known.get(slot.id, 0) for slot in record.missing())
        return each * (runs + epochs * len(record.missing_trials()))

    def show(self, text: str, epoch: int, done: int, total: int) -> None:
        """Tell where one of them is; drawing it takes milliseconds an epoch."""
        text += f" epoch {epoch}/{self._recorder.record.training.epochs}"
        self._campaign.progress.starts(text, done, total, self.left())
