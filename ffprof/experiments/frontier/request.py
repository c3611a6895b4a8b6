"""The request of a frontier, and its points.

Its points are every workload at every size and setting that it can run at.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ffprof.estimator.target import Target
from ffprof.experiments.request import Request
from ffprof.harness.process.guard import Guard
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.step import StepDescription


@dataclass(frozen=True, kw_only=True)
class FrontierRequest:
    """A frontier to be found.

    Attributes:
        audit: what a trial of the recipe is started with; its record has no trials.
        record: the points, none of them measured.
        recipes: the recipe of every point, by its id.
        target: what points are estimated for; None on a processor.
        trial_limit_seconds: of one trial.
        run_limit_seconds: of all.
        guard: looks after the GPU.
    """

    audit: Request
    record: FrontierRecord
    recipes: dict[str, Recipe]
    target: Target | None
    path: Path
    trial_limit_seconds: float
    run_limit_seconds: float | None = None
    guard: Guard = field(default_factory=lambda: Guard(None))


MOST_SIZES = 5  # by default


def default_sizes(recipe: Recipe) -> tuple[int, ...]:
    """Up to five divisors of the batch about the recipe's micro-batch, each twice the last or more.

    Two on each side, or more on one where the other ends.
    """
    divisors = [n for n in range(1, recipe.batch + 1) if recipe.batch % n == 0]
    below, above = [], []
    last = recipe.micro_batch
    for one in reversed([n for n in divisors if n < recipe.micro_batch]):
        if 2 * one <= last:
            below.append(one)
            last = one
    last = recipe.micro_batch
    for one in (n for n in divisors if n > recipe.micro_batch):
        if one >= 2 * last:
            above.append(one)
            last = one
    sides = (MOST_SIZES - 1) // 2
    up = above[: max(sides, MOST_SIZES - 1 - len(below))]
    down = below[: MOST_SIZES - 1 - len(up)]
    return tuple(sorted([*down, recipe.micro_batch, *up]))


def make_points(
    recipe: Recipe,
    workloads: Sequence[Description],
    sizes: Sequence[int],
    precisions: Sequence[str],
    formats: Sequence[str],
) -> tuple[tuple[Point, ...], dict[str, Recipe]]:
    """The points, unmeasured, and the recipe of each by its id.

    A workload that does not accumulate has one point a setting, the whole batch. One that objects
    to a setting has its points refused, with the reason.

    Args:
        recipe: what all have in common.
        workloads: in the order of rows.
        sizes: micro-batches, each a divisor of the batch.
        precisions: of ``ffprof.records.recipe.Precision``.
        formats: memory formats.
    """
    points, recipes = [], {}
    for one, precision, form in itertools.product(workloads, precisions, formats):
        for size in sizes if one.accumulates else (None,):
            chosen = recipe.model_copy(
                update={"precision": precision, "memory_format": form}
                | ({"micro_batch": size} if size else {})
            )
            setting = [precision] * (len(precisions) > 1) + [form] * (len(formats) > 1)
            id = "/".join([f"{one.id}@{one.micro_batch(chosen)}", *setting])
            objection = _objection(one, chosen, recipe)
            points.append(
                Point(
                    id=id,
                    workload=one.id,
                    method=one.method,
                    family=one.family,
                    schedule=one.schedule,
                    batch=recipe.batch,
                    micro_batch=one.micro_batch(chosen),
                    precision=chosen.precision,
                    memory_format=chosen.memory_format,
                    standing="refused" if objection else "not run",
                    because=(objection or "")[:4000],
                )
            )
            recipes[id] = chosen
    return tuple(points), recipes


def _objection(one: Description, chosen: Recipe, recipe: Recipe) -> str | None:
    other = (chosen.precision, chosen.memory_format) != (recipe.precision, recipe.memory_format)
    if isinstance(one, StepDescription) and other:
        return "it is a user-defined step, so its precision and format cannot be set from here"
    return one.objection(chosen)
