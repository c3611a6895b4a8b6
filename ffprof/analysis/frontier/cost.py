"""What a frontier's trials took, and what those of all points in all rounds would have taken."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ffprof.analysis.frontier.pareto import Candidate, Margins, promise
from ffprof.records.frontier import FrontierRecord, Point
from ffprof.records.recipe import Recipe
from ffprof.records.trial import Trial

UNTIMED_STEPS = 6  # of a trial, besides warm-up: until two agree, settling, four untimed passes


def everything_seconds(
    record: FrontierRecord, found: Sequence[Candidate], margins: Margins
) -> tuple[float | None, float | None]:
    """(seconds spent on trials, seconds that all would have taken); None without any trial.

    A point that was measured costs its trials, those that were repeated, and the median of
    them in every round that it was not run in. Another one costs what trials take in addition to
    their steps (the median over those measured), and its steps at its likely rate; if it would run
    out of memory, only the former. What failed or was refused is not tried again.
    """
    taken = [t for p in record.points for t in (*p.trials, *p.discarded)]
    trials = [t for t in taken if t.conditions.wall_seconds is not None]
    good = [t for t in trials if t.outcome == "ok"]
    if not trials:
        return None, None
    spent = sum(_wall(t) for t in trials)
    fixed = median(_beside(t, record.recipe) for t in good) if good else 0.0
    everything = 0.0
    for point, one in zip(record.points, found, strict=True):
        if point.trials:
            walls = [_wall(t) for t in point.trials]
            missing = 0 if one.out else max(0, record.rounds - len(walls))
            again = sum(map(_wall, point.discarded))
            everything += sum(walls) + again + missing * median(walls)
        elif point.standing != "refused":
            everything += _unmeasured(record, point, one, found, margins, fixed)
    return spent, everything


def _unmeasured(
    record: FrontierRecord,
    point: Point,
    one: Candidate,
    found: Sequence[Candidate],
    margins: Margins,
    fixed: float,
) -> float:
    if one.out:
        return fixed  # it runs out of memory at once, and is not tried again
    promised = promise(one, found, margins)
    if promised is None or promised.likely <= 0:
        return record.rounds * fixed
    step = point.batch / promised.likely
    return record.rounds * (fixed + _steps(step, record.recipe) * step)


def _steps(step_seconds: float, recipe: Recipe) -> float:
    timed = max(recipe.min_steps, min(recipe.steps, recipe.step_box_seconds / step_seconds))
    return recipe.warmup_steps + UNTIMED_STEPS + timed


def _beside(trial: Trial, recipe: Recipe) -> float:
    """What a trial took besides its steps."""
    assert trial.throughput is not None
    step = recipe.batch / trial.throughput.images_per_second
    timed = len(trial.throughput.step_seconds)
    return max(0.0, _wall(trial) - (recipe.warmup_steps + UNTIMED_STEPS + timed) * step)


def _wall(trial: Trial) -> float:
    return trial.conditions.wall_seconds or 0.0
