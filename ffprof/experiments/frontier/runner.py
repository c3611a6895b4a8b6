"""Measures a frontier: estimates first, then waves of trials, each decided by all before it.

Which points a wave holds is decided from the record alone, by what the request brings for it; so
is what stands where. The record lies on the disk after every trial.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from ffprof.experiments.attempt import (
    Bench,
    Measured,
    Retakes,
    measure_point,
    most_taken,
    with_debit,
)
from ffprof.experiments.frontier.estimates import EnoughError, guess_all
from ffprof.experiments.frontier.request import FrontierOutcome, FrontierRequest, Told
from ffprof.experiments.request import Slot
from ffprof.hardware.environment import environment
from ffprof.records.frontier import FrontierRecord, Guess, Point
from ffprof.records.store import save_frontier
from ffprof.workload import Description

_OUT_OF_TIME = "the run's time limit is over"


def find_frontier(
    request: FrontierRequest,
    told: Told,
    now: Callable[[], float] = time.monotonic,
    guess: Callable[..., list[Guess | None]] = guess_all,
    measure: Callable[..., Measured] = measure_point,
) -> FrontierOutcome:
    """Estimate all points, measure those that matter; the record on the disk is current.

    ``guess`` and ``measure`` stand for what does so in child processes.
    """
    run = _Run(request, told, now, guess, measure)
    interrupt: BaseException | None = None
    stopped = ""
    try:
        duty = request.guard.on_duty(run.left)
        with environment(request.audit.environment), duty as notes:
            run.add_notes(notes)
            run.guess()
            stopped = run.measure()
    except KeyboardInterrupt as error:
        stopped, interrupt = "interrupted", error
    finally:
        told.done()
    return FrontierOutcome(record=run.finish(stopped), interrupt=interrupt)


class _Run:
    def __init__(
        self,
        request: FrontierRequest,
        told: Told,
        now: Callable[[], float],
        guess: Callable[..., list[Guess | None]],
        measure: Callable[..., Measured],
    ) -> None:
        self._request, self._told, self._now = request, told, now
        self._guess_all, self._measure_point = guess, measure
        self._record = request.record
        self._descriptions = {d.id: d for d in request.audit.workloads}
        self._benches: dict[tuple[str, str], Bench] = {}
        self._retakes = Retakes(len(request.record.points) * request.record.rounds)
        self._known: dict[str, int] = {}
        for point in request.record.points:
            before = (*point.trials, *point.discarded)
            taken = max((most_taken(t.debit) for t in before), default=0)
            if taken:
                self._known[point.workload] = max(self._known.get(point.workload, 0), taken)
        self._started = now()

    def add_notes(self, notes: tuple[str, ...]) -> None:
        """Add to the record's notes."""
        told = (note[:1000] for note in notes)
        self._record = self._record.model_copy(update={"notes": (*self._record.notes, *told)})

    def left(self) -> float:
        """Seconds of the run's limit that are left."""
        limit = self._request.run_limit_seconds
        return float("inf") if limit is None else limit - (self._now() - self._started)

    def _description(self, point: Point) -> Description:
        return self._descriptions[point.workload]

    def guess(self) -> None:
        """Fill in what estimates say of the points that are not refused."""
        if all(p.guess for p in self._record.points if p.standing != "refused"):
            return  # it is gone on with
        began = self._now()
        points = [p for p in self._record.points if p.standing != "refused"]
        wanted = [(self._description(p), self._request.recipes[p.id]) for p in points]

        def told(number: int) -> None:
            self._told.guessed(number, len(points))
            if self.left() <= 0 and number < len(points):
                raise EnoughError

        guesses = self._guess_all(self._request.audit, wanted, self._request.target, told)
        found = {p.id: guess for p, guess in zip(points, guesses, strict=True)}
        self._record = self._record.model_copy(
            update={
                "points": tuple(self._guessed(p, found.get(p.id)) for p in self._record.points),
                "guess_seconds": self._now() - began,
            }
        )
        self._settle()

    def _guessed(self, point: Point, guess: Guess | None) -> Point:
        if guess is None:
            return point
        update: dict[str, object] = {"guess": guess}
        if self._record.evidence == "estimated" and guess.memory_bytes is None:
            refused = guess.outcome == "refused"
            update |= {"standing": "refused" if refused else "failed", "because": guess.message}
        return point.model_copy(update=update)

    def measure(self) -> str:
        """Wave after wave; returns why it ended early, or nothing."""
        if any(p.guess is None and p.standing != "refused" for p in self._record.points):
            return _OUT_OF_TIME
        number = 0
        while wave := list(self._request.wave(self._record)):
            random.Random(f"{self._record.recipe.seed}/{number}").shuffle(wave)
            number += 1
            for id in wave:
                if self.left() <= 0:
                    return _OUT_OF_TIME
                if (stopped := self._request.guard.admit(self.left)) is not None:
                    return stopped
                if not self._measure(id):
                    return _OUT_OF_TIME
        return ""

    def _measure(self, id: str) -> bool:
        point = next(p for p in self._record.points if p.id == id)
        round = len(point.trials)
        before = sum(t.round == round for p in self._record.points for t in p.trials)
        slot = Slot(round=round, position=before, workload=point.workload)
        self._told.starts(point, round, self._record)
        found = self._measure_point(
            self._bench(point),
            self._description(point),
            slot,
            point.micro_batch,
            self._request.trial_limit_seconds,
            self.left,
        )
        new = () if found.trial is None else (found.trial,)
        if not new and not found.discarded:
            return False
        self._benches[point.precision, point.memory_format] = found.bench
        grown = point.model_copy(
            update={
                "trials": (*point.trials, *new),
                "discarded": (*point.discarded, *found.discarded),
            }
        )
        points = tuple(grown if p.id == id else p for p in self._record.points)
        budget = self._record.budget
        for trial in (*found.discarded, *new):
            budget = with_debit(budget, trial.debit)
        self._record = self._record.model_copy(update={"points": points, "budget": budget})
        self._settle()
        save_frontier(self._record, self._request.path)
        if found.trial is None:
            return False
        self._told.ends(grown, found.trial)
        return True

    def _bench(self, point: Point) -> Bench:
        key = (point.precision, point.memory_format)
        if key not in self._benches:
            audit = self._request.audit
            recipe = audit.record.recipe.model_copy(
                update={"precision": point.precision, "memory_format": point.memory_format}
            )
            record = audit.record.model_copy(
                update={"recipe": recipe, "recipe_hash": recipe.digest()}
            )
            self._benches[key] = Bench(
                record=record,
                device=audit.device,
                context=audit.context,
                guard=self._request.guard,
                retakes=self._retakes,
                known=self._known,
            )
        return self._benches[key]

    def _settle(self) -> None:
        self._record = self._request.settle(self._record)

    def finish(self, stopped: str) -> FrontierRecord:
        """The settled record, stored if it holds anything."""
        self._record = self._record.model_copy(update={"stopped": stopped})
        self._settle()
        trials = any(p.trials for p in self._record.points)
        guesses = any(p.guess and p.guess.memory_bytes for p in self._record.points)
        if trials or (self._record.evidence == "estimated" and guesses):
            save_frontier(self._record, self._request.path)
        return self._record
