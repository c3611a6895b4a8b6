"""Looks for the largest size of every workload: estimates propose, and the card decides.

After every workload the record is complete as far as it goes and lies on the disk. What ends the
search early (the user, the run's time limit) keeps what was found.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ffprof.errors import one_line
from ffprof.estimator.sizes import sized
from ffprof.experiments.capacity.probe import guess_child, propose_child
from ffprof.experiments.capacity.request import (
    CapacityOutcome,
    CapacityProgress,
    CapacityRequest,
    RunProbe,
)
from ffprof.experiments.capacity.search import Found, Search
from ffprof.hardware.environment import environment
from ffprof.harness.process.child import Ending, run_child
from ffprof.records.frontier import Capacity, Tried
from ffprof.records.recipe import Recipe
from ffprof.records.store import save_frontier
from ffprof.workload import Description
from ffprof.workload.user_file import address

OUT_OF_TIME = "the run's time limit is over"


class _OutOfTimeError(Exception):
    """The limit of all runs is over."""


class _NotAdmittedError(Exception):
    """The GPU is gone, or others are on it."""


def find_capacities(
    request: CapacityRequest,
    progress: CapacityProgress,
    now: Callable[[], float] = time.monotonic,
) -> CapacityOutcome:
    """Look at one workload after the other."""
    all_of_them = _Capacities(request, progress, now)
    stopped: str | None = None
    interrupt: BaseException | None = None
    try:
        duty = request.guard.on_duty(all_of_them.left)
        with environment(request.environment), duty as notes:
            all_of_them.add_notes(notes)
            for number in range(len(request.workloads)):
                all_of_them.look_at(number)
    except _OutOfTimeError:
        stopped = OUT_OF_TIME
    except _NotAdmittedError as error:
        stopped = str(error)
    except KeyboardInterrupt as error:
        stopped, interrupt = "interrupted", error
    finally:
        progress.ends()
    if stopped is not None:
        all_of_them.note(stopped)
    return CapacityOutcome(record=all_of_them.record, stopped=stopped, interrupt=interrupt)


class _Capacities:
    def __init__(
        self, request: CapacityRequest, progress: CapacityProgress, now: Callable[[], float]
    ) -> None:
        self._request, self._progress, self._now = request, progress, now
        self._started = now()
        self.record = request.record

    def look_at(self, number: int) -> None:
        """Find the largest size of one workload and keep it.

        Raises:
            _OutOfTimeError: the limit is over; what was found of this one is kept.
        """
        one, recipe = self._request.workloads[number], self._request.record.recipe
        objection = one.objection(recipe)
        if objection is not None:
            self._keep(self._none(one, f"refused: {objection}"))
            return
        self._progress.proposes(one.id, number, len(self._request.workloads))
        proposal = self._proposal(one)
        if self._request.run_probe is None:
            self._keep(proposal)
        else:
            self._run(one, proposal, self._request.run_probe)

    def left(self) -> float:
        """Seconds of the run's limit that are left."""
        if self._request.run_limit_seconds is None:
            return float("inf")
        return self._request.run_limit_seconds - (self._now() - self._started)

    def add_notes(self, notes: tuple[str, ...]) -> None:
        """Add to the record's notes."""
        told = (note[:1000] for note in notes)
        self.record = self.record.model_copy(update={"notes": (*self.record.notes, *told)})

    def note(self, stopped: str) -> None:
        """Keep in the record why not all workloads are in it, or not to the end."""
        done = {one.workload for one in self.record.capacities}
        left = [one.id for one in self._request.workloads if one.id not in done]
        told = f"stopped early: {stopped}"
        if left:
            told += f"; not searched: {', '.join(left)}"
        notes = (*self.record.notes, told[:1000])
        self.record = self.record.model_copy(update={"notes": notes})
        if done:
            save_frontier(self.record, self._request.path)

    def _run(self, one: Description, proposal: Capacity, run_probe: RunProbe) -> None:
        request, recipe = self._request, self._request.record.recipe
        make, _, start, cap = sized(request.grown, one, recipe)
        known = {tried.size: tried for tried in proposal.tried}

        def probe(size: int) -> Tried:
            if (stopped := request.guard.admit(self.left)) is not None:
                raise _NotAdmittedError(stopped)
            self._progress.tries(one.id, size, *search.border)
            limit = self._limit(request.time_limit_seconds)
            tried = run_probe(one, make(size), limit).model_copy(update={"size": size})
            if tried.outcome == "timeout" and limit < request.time_limit_seconds:
                raise _OutOfTimeError  # the limit of all, not this run's
            return tried

        def guess(size: int) -> Tried:
            return known[size] if size in known else self._guess(one, size)

        search = Search(
            probe,
            proposal=start if proposal.proposed is None else proposal.proposed,
            cap=cap,
            guess=guess,
            max_oom=request.max_oom,
            max_runs=request.max_runs,
        )
        try:
            found = search.run()
        except (KeyboardInterrupt, _OutOfTimeError, _NotAdmittedError) as error:
            why = OUT_OF_TIME if isinstance(error, _OutOfTimeError) else str(error) or "interrupted"
            found = search.found(why)
            if found.tried:
                self._keep(self._capacity(one, proposal, found, make))
            raise
        self._keep(self._capacity(one, proposal, found, make))

    def _capacity(
        self,
        one: Description,
        proposal: Capacity,
        found: Found,
        make: Callable[[int], Recipe],
    ) -> Capacity:
        told = found.message
        if proposal.proposed is None and proposal.message:
            told = f"{told}; not estimated: {proposal.message}".removeprefix("; ")
        return Capacity(
            workload=one.id,
            method=one.method,
            family=one.family,
            grown=self._request.grown,
            largest=found.largest,
            first_failing=found.first_failing,
            batch=make(found.largest).batch if found.largest else None,
            proven=found.proven,
            proposed=proposal.proposed,
            tried=found.tried,
            message=one_line(told)[:1000],
        )

    def _proposal(self, one: Description) -> Capacity:
        request = self._request
        limit = self._limit(request.time_limit_seconds)
        arguments = (address(one), request.record.recipe, request.target, request.grown)
        ending = run_child(request.server, propose_child, arguments, limit)
        found = ending.answer(Capacity)
        if isinstance(found, Capacity):
            return found
        self._not_over(ending, limit)
        return self._none(one, found.message)

    def _guess(self, one: Description, size: int) -> Tried:
        request = self._request
        limit = self._limit(request.time_limit_seconds)
        arguments = (address(one), request.record.recipe, request.target, request.grown, size)
        ending = run_child(request.server, guess_child, arguments, limit)
        found = ending.answer(Tried)
        if isinstance(found, Tried):
            return found
        self._not_over(ending, limit)
        told = one_line(found.message)[:1000]
        return Tried(size=size, outcome=found.outcome, evidence="estimated", message=told)

    def _limit(self, wanted: float) -> float:
        left = self.left()
        if left <= 0:
            raise _OutOfTimeError
        return min(wanted, left)

    def _not_over(self, ending: Ending, limit: float) -> None:
        if ending.kind == "timeout" and limit < self._request.time_limit_seconds:
            raise _OutOfTimeError

    def _none(self, one: Description, why: str) -> Capacity:
        return Capacity(
            workload=one.id,
            method=one.method,
            family=one.family,
            grown=self._request.grown,
            largest=0,
            proven=False,
            message=one_line(why)[:1000],
        )

    def _keep(self, capacity: Capacity) -> None:
        self.record = self.record.model_copy(
            update={
                "capacities": (*self.record.capacities, capacity),
                "spent_seconds": self._now() - self._started,
            }
        )
        save_frontier(self.record, self._request.path)
