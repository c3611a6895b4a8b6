"""Measures a frontier: estimates first, then waves of trials, each decided by all before it.

Which points a wave holds, and what stands where, is decided from the record alone. It lies on the
disk after every trial.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from ffprof.analysis.frontier.standings import settle, wave
from ffprof.experiments.attempt import Attempts, Debits, Retakes, with_debit
from ffprof.experiments.campaign import (
    OUT_OF_TIME,
    Campaign,
    Outcome,
    Progress,
    StoppedError,
    trial_line,
)
from ffprof.experiments.frontier.estimates import EnoughError, guess_all
from ffprof.experiments.frontier.request import FrontierRequest
from ffprof.experiments.request import Slot
from ffprof.records.audit import LedgerRow, Record
from ffprof.records.frontier import FrontierRecord, Guess, Point
from ffprof.records.store import save
from ffprof.records.trial import Trial


def find_frontier(
    request: FrontierRequest,
    progress: Progress,
    now: Callable[[], float] = time.monotonic,
    guess: Callable[..., list[Guess | None]] = guess_all,
) -> Outcome[FrontierRecord]:
    """Estimate all points, measure those that matter; the record on the disk is current.

    ``guess`` stands for what estimates in child processes.
    """
    campaign = Campaign(progress, request.guard, request.run_limit_seconds, now)
    run = _Run(request, campaign, guess)
    stopped, interrupt = campaign.run(request.audit.environment, run.work)
    return Outcome(record=run.finish(stopped or ""), stopped=stopped, interrupt=interrupt)


class _Run:
    def __init__(
        self,
        request: FrontierRequest,
        campaign: Campaign,
        guess: Callable[..., list[Guess | None]],
    ) -> None:
        self._request, self._campaign, self._guess_all = request, campaign, guess
        self._record = request.record
        self._descriptions = {d.id: d for d in request.audit.workloads}
        # By precision and memory format, the facts that those of all trials must match.
        self._ledgers: dict[tuple[str, str], dict[str, LedgerRow]] = {}
        debits = Debits()
        for point in request.record.points:
            for trial in (*point.trials, *point.discarded):
                if trial.debit is not None:
                    debits.add(point.workload, trial.debit)
        self._attempts = Attempts(
            campaign=campaign,
            context=request.audit.context,
            device=request.audit.device,
            retakes=Retakes(len(request.record.points) * request.record.rounds),
            debits=debits,
        )

    def work(self, notes: tuple[str, ...]) -> None:
        """Estimate and measure.

        Raises:
            StoppedError: the run goes no further.
        """
        told = (note[:1000] for note in notes)
        self._update(notes=(*self._record.notes, *told))
        self._guess()
        self._measure()

    def _guess(self) -> None:
        """Fill in what estimates say of the points that are not refused."""
        points = [p for p in self._record.points if p.standing != "refused"]
        if all(p.guess for p in points):
            return  # it is resumed
        began = self._campaign.now()
        wanted = [(self._descriptions[p.workload], self._request.recipes[p.id]) for p in points]

        def told(number: int) -> None:
            self._campaign.progress.starts("estimating points", number, len(points))
            if self._campaign.left() <= 0 and number < len(points):
                raise EnoughError

        guesses = self._guess_all(self._request.audit, wanted, self._request.target, told)
        found = {p.id: guess for p, guess in zip(points, guesses, strict=True)}
        self._update(
            points=tuple(self._guessed(p, found.get(p.id)) for p in self._record.points),
            guess_seconds=self._campaign.now() - began,
        )
        self._record = settle(self._record)

    def _guessed(self, point: Point, guess: Guess | None) -> Point:
        if guess is None:
            return point
        update: dict[str, object] = {"guess": guess}
        if self._record.evidence == "estimated" and guess.memory_bytes is None:
            refused = guess.outcome == "refused"
            update |= {"standing": "refused" if refused else "failed", "because": guess.message}
        return point.model_copy(update=update)

    def _measure(self) -> None:
        """Wave after wave."""
        if any(p.guess is None and p.standing != "refused" for p in self._record.points):
            raise StoppedError(OUT_OF_TIME)
        number = 0
        while ids := list(wave(self._record, every=self._record.every_point)):
            random.Random(f"{self._record.recipe.seed}/{number}").shuffle(ids)
            number += 1
            for id in ids:
                self._campaign.admit()
                self._trial(id)

    def _trial(self, id: str) -> None:
        point = self._point(id)
        one, round = self._descriptions[point.workload], len(point.trials)
        before = sum(t.round == round for p in self._record.points for t in p.trials)
        waiting = sum(p.standing == "not run" for p in self._record.points)
        done = sum(len(p.trials) for p in self._record.points)
        self._campaign.progress.starts(
            f"round {round + 1} {point.id}; {waiting} points wait to be measured",
            done,
            done + max(1, waiting),
        )
        result = self._attempts.settled(
            one,
            Slot(round=round, position=before, workload=point.workload),
            self._recorded(point),
            self._request.trial_limit_seconds,
            lambda trial: self._keep(id, "discarded", trial),
        )
        if result.trial.outcome == "ok":
            key = (point.precision, point.memory_format)
            self._ledgers.setdefault(key, {point.workload: LedgerRow(facts=result.facts)})
        self._keep(id, "trials", result.trial)
        self._campaign.progress.ends(trial_line(result.trial, point.id))

    def _point(self, id: str) -> Point:
        return next(p for p in self._record.points if p.id == id)

    def _recorded(self, point: Point) -> Record:
        """What a trial of a point is run under: the audit's record with the point's recipe."""
        recipe = self._request.recipes[point.id]
        ledger = self._ledgers.get((point.precision, point.memory_format), {})
        update = {"recipe": recipe, "recipe_hash": recipe.digest(), "ledger": ledger}
        return self._request.audit.record.model_copy(update=update)

    def _keep(self, id: str, where: str, trial: Trial) -> None:
        """Store a trial among those of a point, or among those that were discarded."""
        point = self._point(id)
        grown = point.model_copy(update={where: (*getattr(point, where), trial)})
        points = tuple(grown if p.id == id else p for p in self._record.points)
        self._update(points=points, budget=with_debit(self._record.budget, trial.debit))
        self._record = settle(self._record)
        save(self._record, self._request.path)

    def _update(self, **update: object) -> None:
        self._record = self._record.model_copy(update=update)

    def finish(self, stopped: str) -> FrontierRecord:
        """The settled record, stored if it holds anything."""
        self._update(stopped=stopped)
        self._record = settle(self._record)
        trials = any(p.trials for p in self._record.points)
        guesses = any(p.guess and p.guess.memory_bytes for p in self._record.points)
        if trials or (self._record.evidence == "estimated" and guesses):
            save(self._record, self._request.path)
        return self._record
