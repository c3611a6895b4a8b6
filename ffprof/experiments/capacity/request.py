"""The request of a search for the largest sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Literal

from ffprof.estimator.target import Target
from ffprof.experiments.capacity.search import MAX_OOM, MAX_RUNS
from ffprof.harness.process.guard import Guard
from ffprof.records.frontier import FrontierRecord, Tried
from ffprof.records.recipe import Recipe
from ffprof.workload import Description

Grown = Literal["micro-batch", "depth"]
# Runs a workload under a recipe for a few steps and returns its outcome.
RunProbe = Callable[[Description, Recipe, float], Tried]


@dataclass(frozen=True, kw_only=True)
class CapacityRequest:
    """A record without capacities, and how to fill it.

    Without ``run_probe`` nothing is run: the search is one over estimates. ``server`` is what
    children that estimate are forked from. ``time_limit_seconds`` is the limit of one run, and of
    one search by estimates; ``run_limit_seconds`` that of everything. ``guard`` looks after the
    GPU. ``environment`` is set while it lasts; None removes a variable.
    """

    record: FrontierRecord
    workloads: tuple[Description, ...]
    grown: Grown
    path: Path
    server: BaseContext
    target: Target
    run_probe: RunProbe | None
    time_limit_seconds: float
    run_limit_seconds: float | None = None
    guard: Guard = field(default_factory=lambda: Guard(None))
    max_oom: int = MAX_OOM
    max_runs: int = MAX_RUNS
    environment: dict[str, str | None] = field(default_factory=dict)
