"""What a frontier is asked for, whom it tells, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ffprof.audit.request import Request
from ffprof.estimator.target import Target
from ffprof.harness.process.guard import Guard
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.records.recipe import Recipe
from ffprof.records.trial import Trial


class Told(Protocol):
    """Told of what happens; it must be quiet while a trial runs."""

    def guessed(self, number: int, total: int) -> None:
        """So many points are estimated."""

    def starts(self, point: Point, round: int, record: FrontierRecord) -> None:
        """A trial is about to run."""

    def ends(self, point: Point, trial: Trial) -> None:
        """A trial is over."""

    def done(self) -> None:
        """No more trials."""


@dataclass(frozen=True, kw_only=True)
class FrontierRequest:
    """A frontier to be found.

    Attributes:
        audit: what a trial of the recipe is started with; its record has no trials.
        record: the points, none of them measured.
        recipes: the recipe of every point, by its id.
        target: what points are estimated for; None on a processor.
        wave: which points to measure next, by id; none when all is decided.
        settle: the record with what stands where.
        trial_limit_seconds: of one trial.
        run_limit_seconds: of all.
        guard: looks after the GPU.
    """

    audit: Request
    record: FrontierRecord
    recipes: dict[str, Recipe]
    target: Target | None
    path: Path
    wave: Callable[[FrontierRecord], tuple[str, ...]]
    settle: Callable[[FrontierRecord], FrontierRecord]
    trial_limit_seconds: float
    run_limit_seconds: float | None = None
    guard: Guard = field(default_factory=lambda: Guard(None))


@dataclass(frozen=True, kw_only=True)
class FrontierOutcome:
    """The record as far as it goes, and what interrupted it."""

    record: FrontierRecord
    interrupt: BaseException | None = None
