"""Looks for the largest size of every workload: estimates propose, and the card decides.

After every workload the record is complete as far as it goes and lies on the disk. What ends the
search early (the user, the run's time limit) keeps what was found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ffprof.errors import one_line
from ffprof.estimator.sizes import sized
from ffprof.estimator.target import Estimated
from ffprof.estimator.worker import Border, border_child, estimate_child
from ffprof.experiments.campaign import Campaign, Outcome, Progress, StoppedError
from ffprof.experiments.capacity.probe import not_found, proposed, tried_estimate
from ffprof.experiments.capacity.request import CapacityRequest, RunProbe
from ffprof.experiments.capacity.search import Search, SearchResult
from ffprof.harness.process.child import Answer, run_child
from ffprof.harness.process.messages import Failed
from ffprof.records.frontier import Capacity, FrontierRecord, Tried
from ffprof.records.recipe import Recipe
from ffprof.records.redaction import recorded
from ffprof.records.store import save
from ffprof.workload import Description
from ffprof.workload.user_file import address

STOPPED = "stopped early: "  # how notes and messages on what was not searched to its end begin


def find_capacities(
    request: CapacityRequest,
    progress: Progress,
    now: Callable[[], float] = time.monotonic,
) -> Outcome[FrontierRecord]:
    """Look at one workload after the other."""
    campaign = Campaign(progress, request.guard, request.run_limit_seconds, now)
    run = _Run(request, campaign)
    stopped, interrupt = campaign.run(request.environment, run.work)
    if stopped is not None:
        run.note(stopped)
    return Outcome(record=run.record, stopped=stopped, interrupt=interrupt)


class _Run:
    def __init__(self, request: CapacityRequest, campaign: Campaign) -> None:
        self._request, self._campaign = request, campaign
        self.record = request.record

    def work(self, notes: tuple[str, ...]) -> None:
        """Find the largest size of every workload and keep it.

        Raises:
            StoppedError: the search goes no further; what was found is kept.
        """
        told = (note[:1000] for note in notes)
        self.record = self.record.model_copy(update={"notes": (*self.record.notes, *told)})
        for number in range(len(self._request.workloads)):
            self._look_at(number)

    def _look_at(self, number: int) -> None:
        one, recipe = self._request.workloads[number], self._request.record.recipe
        objection = one.objection(recipe)
        if objection is not None:
            self._keep(not_found(one, self._request.grown, f"refused: {objection}"))
            return
        total = len(self._request.workloads)
        self._campaign.progress.starts(f"{one.id}: estimating", number, total)
        proposal = self._proposal(one)
        if self._request.run_probe is None:
            self._keep(proposal)
        else:
            self._run(one, number, proposal, self._request.run_probe)

    def note(self, stopped: str) -> None:
        """Keep in the record why not all workloads are in it, or not to the end."""
        done = {one.workload for one in self.record.capacities}
        left = [one.id for one in self._request.workloads if one.id not in done]
        told = f"{STOPPED}{stopped}"
        if left:
            told += f"; not searched: {', '.join(left)}"
        notes = (*self.record.notes, told[:1000])
        self.record = self.record.model_copy(update={"notes": notes})
        if done:
            save(self.record, self._request.path)

    def _run(self, one: Description, number: int, proposal: Capacity, run_probe: RunProbe) -> None:
        request, campaign, recipe = self._request, self._campaign, self._request.record.recipe
        made, _, start, cap = sized(request.grown, one, recipe)

        def make(size: int) -> Recipe:
            return made(size)[1]

        guessed = {tried.size: tried for tried in proposal.tried}

        def probe(size: int) -> Tried:
            campaign.admit()
            low, high = search.border
            known = [f", {low:,} fits"] if low else []
            known += [f", {high:,} does not"] if high is not None else []
            text = f"{one.id}: running {size:,}{''.join(known)}"
            campaign.progress.starts(text, number, len(request.workloads))
            limit = campaign.limit(request.time_limit_seconds)
            tried = run_probe(one, make(size), limit).model_copy(update={"size": size})
            campaign.charge(tried.outcome == "timeout", limit, request.time_limit_seconds)
            return tried

        def guess(size: int) -> Tried:
            return guessed[size] if size in guessed else self._guess(one, make(size), size)

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
        except (KeyboardInterrupt, StoppedError) as error:
            found = search.found(f"{STOPPED}{str(error) or 'interrupted'}")
            if found.tried:
                self._keep(self._capacity(one, proposal, found, make))
            raise
        self._keep(self._capacity(one, proposal, found, make))

    def _capacity(
        self,
        one: Description,
        proposal: Capacity,
        found: SearchResult,
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
            message=recorded(one_line(told), 1000),
        )

    def _proposal(self, one: Description) -> Capacity:
        request = self._request
        arguments = (address(one), request.record.recipe, request.target, request.grown)
        found = self._ask(border_child, arguments, Border)
        if isinstance(found, Failed):
            return not_found(one, request.grown, found.message)
        return proposed(one, request.grown, found)

    def _guess(self, one: Description, recipe: Recipe, size: int) -> Tried:
        arguments = ([(address(one), recipe)], self._request.target)
        found = self._ask(estimate_child, arguments, Estimated)
        if isinstance(found, Estimated):
            return tried_estimate(size, found.row)
        told = recorded(one_line(found.message), 1000)
        return Tried(size=size, outcome=found.outcome, evidence="estimated", message=told)

    def _ask(
        self, child: Callable[..., None], arguments: tuple[Any, ...], kind: type[Answer]
    ) -> Answer | Failed:
        request = self._request
        limit = self._campaign.limit(request.time_limit_seconds)
        found = run_child(request.server, child, arguments, limit).answer(kind)
        timeout = isinstance(found, Failed) and found.outcome == "timeout"
        self._campaign.charge(timeout, limit, request.time_limit_seconds)
        return found

    def _keep(self, capacity: Capacity) -> None:
        self.record = self.record.model_copy(
            update={
                "capacities": (*self.record.capacities, capacity),
                "spent_seconds": self._campaign.spent(),
            }
        )
        save(self.record, self._request.path)
