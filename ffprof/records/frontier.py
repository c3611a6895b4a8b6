"""The record of a frontier or of a search for the largest size: what was tried, and what it gave.

A file of its own in addition to those of audits, with the same rules about units and nulls.
``kind`` tells the two apart; readers refuse what is neither.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, model_validator

from ffprof.records.audit import Budget, Machine, WorkloadFile, subject_of
from ffprof.records.base import (
    Bytes,
    Count,
    Digest,
    Label,
    Name,
    Named,
    Notes,
    Part,
    Seconds,
    Size,
    Text,
    check_trials,
)
from ffprof.records.recipe import Precision, Recipe
from ffprof.records.trial import Evidence, Fit, Outcome, Trial, check_timed

FRONTIER_VERSION = 1
# measured: it has trials. dominated and does not fit may have them or not: an estimate, or trials
# of other points, may have left it out. not run: the run ended before it was its turn.
Standing = Literal[
    "measured", "does not fit", "dominated", "refused", "failed", "estimated", "not run"
]


class Guess(Part):
    """What an estimate says of one point; nulls where it says nothing."""

    outcome: Outcome
    fit: Fit | None = None
    memory_bytes: Bytes | None = None  # the figure that memory is judged by on the device
    reserved_bytes: Bytes | None = None
    images_per_second: float | None = None
    message: Text = ""


class Point(Part):
    """One workload at one micro-batch, precision and memory format.

    ``memory_bytes`` and ``images_per_second`` are of its trials (the median), or of the estimate
    where nothing is measured. ``because`` is the id of the point of its method that dominates it,
    or in words why it did not run or is not ranked. ``discarded`` trials were disturbed and taken
    again; they count for nothing but the time they took. ``on_frontier``: no point of its method
    needs less and is as fast, or as little and is faster.
    """

    id: Annotated[str, Field(min_length=1, max_length=200)]
    workload: Name
    method: Name
    family: Name
    schedule: Name
    batch: Size
    micro_batch: Size
    precision: Precision
    memory_format: Literal["contiguous", "channels_last"]
    guess: Guess | None = None
    trials: Annotated[tuple[Trial, ...], FailFast()] = Field(default=(), max_length=1000)
    discarded: Annotated[tuple[Trial, ...], FailFast()] = Field(default=(), max_length=1000)
    standing: Standing
    because: Text = ""
    memory_bytes: Bytes | None = None
    images_per_second: float | None = None
    on_frontier: bool = False
    best: bool = False  # the fastest of its method that fits for sure, undisturbed


class Tried(Part):
    """One size and what happened to it; ``evidence`` estimated means that nothing was run.

    ``reserved_bytes`` is the larger of a steady step and of those before it. ``process_bytes`` is
    what NVML saw, or else what was reserved and debited; an estimate has a range instead.
    """

    size: Size
    outcome: Outcome
    evidence: Evidence
    reserved_bytes: Bytes | None = None
    process_bytes: Bytes | None = None
    process_range_bytes: tuple[Bytes, Bytes] | None = None
    fit: Fit | None = None
    message: Text = ""


class Capacity(Part):
    """The largest size of a workload that fits: ``largest``, and ``first_failing``, which does not.

    ``largest`` is 0 where nothing was shown to fit; ``first_failing`` is null where nothing larger
    was shown not to. Sizes grow by ``unit`` images or blocks. ``proven``: the two are neighbours, a
    run fitted at ``largest``, and a run or a clear estimate failed at ``first_failing``. ``tried``
    is all that was, in order; ``message`` says what is not proven. ``batch`` is the effective batch
    at ``largest``.

    Of a search by estimates alone nothing is proven: ``largest`` is then the largest size estimated
    to fit, and ``first_failing`` the next, which may be too close to call.
    """

    workload: Name
    method: Name
    family: Name
    grown: Name  # micro-batch, batch, depth, or an argument of a step of the user's own
    unit: Size = 1
    largest: Count
    first_failing: Size | None = None
    batch: Size | None = None
    proven: bool
    proposed: Count | None = None  # by the estimator
    tried: Annotated[tuple[Tried, ...], FailFast()] = Field(default=(), max_length=1000)
    message: Text = ""

    @model_validator(mode="after")
    def _proof_holds(self) -> Self:
        if self.first_failing is not None and self.first_failing <= self.largest:
            raise ValueError("what fails first must be larger than what fits")
        if not self.proven:
            return self
        if self.first_failing != self.largest + self.unit:
            raise ValueError("proven, but what fails is not the next size")
        ran = {(t.size, t.outcome) for t in self.tried if t.evidence != "estimated"}
        if self.largest and (self.largest, "ok") not in ran:
            raise ValueError(f"proven, but {self.largest} was not run, or did not fit")
        if (self.first_failing, "oom") in ran:
            return self
        guessed = any(
            t.size == self.first_failing and t.evidence == "estimated" and t.fit == "does not fit"
            for t in self.tried
        )
        if not guessed or not self.message:
            raise ValueError(
                f"proven, but no run of {self.first_failing} failed, and no clear estimate is given"
            )
        return self


class FrontierRecord(Part):
    """All points, or all capacities, of one recipe under one budget.

    ``spent_seconds`` is what measuring took, ``guess_seconds`` what estimating all points before
    took, and ``all_seconds`` what measuring every point in all ``rounds`` would have taken:
    measured where it was, and forecast by the measured ones elsewhere. ``margins`` are those that
    points were left out with (docs/frontier.md). ``stopped`` says what ended it early,
    ``every_point`` that nothing is left out.
    """

    schema_version: Literal[1] = 1
    kind: Literal["frontier", "capacity"]
    created: datetime
    ffprof: Label
    command: Text
    recipe: Recipe
    rounds: Size = 1
    every_point: bool = False
    trial_limit_seconds: float = 600.0
    budget: Budget = Budget()
    machine: Machine
    evidence: Evidence
    points: Annotated[tuple[Point, ...], FailFast()] = Field(default=(), max_length=100_000)
    capacities: Annotated[tuple[Capacity, ...], FailFast()] = Field(default=(), max_length=10_000)
    spent_seconds: Seconds | None = None
    guess_seconds: Seconds | None = None
    all_seconds: Seconds | None = None
    margins: Named[float] = Field(default_factory=dict)
    stopped: Text = ""
    files: Annotated[tuple[WorkloadFile, ...], Field(max_length=1000)] = ()
    notes: Notes = ()
    digest: Digest = ""

    @property
    def subject(self) -> str:
        """What was measured, as a heading."""
        names = [p.workload for p in self.points] + [c.workload for c in self.capacities]
        return subject_of(self.recipe.preset, names, self.files)

    @model_validator(mode="after")
    def _is_one_frontier(self) -> Self:
        strange = self.capacities if self.kind == "frontier" else self.points
        if strange:
            held = "capacities" if self.kind == "frontier" else "points"
            raise ValueError(f"a {self.kind} has no {held}")
        check_trials(len({point.workload for point in self.points}), self.rounds)
        ids = [point.id for point in self.points]
        if len(set(ids)) != len(ids):
            raise ValueError("two points have the same id")
        trials = [t for point in self.points for t in (*point.trials, *point.discarded)]
        if len({trial.id for trial in trials}) != len(trials):
            raise ValueError("two trials have the same id")
        if trials and self.evidence == "estimated":
            raise ValueError("a frontier that was estimated has no trials")
        check_timed(trials)
        mixed = {trial.evidence for trial in trials} - {self.evidence}
        tried = {t.evidence for one in self.capacities for t in one.tried}
        mixed |= tried - {self.evidence, "estimated"}
        if mixed:
            raise ValueError(f"evidence {sorted(mixed)} in a record of {self.evidence!r}")
        return self
