"""Verdicts on accuracy: workloads against a baseline, and coarse labels against fine ones.

Differences are in percentage points, paired by seed, on the rule that each method is judged by. The
error is split over all comparisons that are planned, so that it is the same before and after a
study has ended (docs/verdicts.md, "Accuracy").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ffprof.analysis.learning.summary import ended_runs, percent_of, task_words
from ffprof.analysis.statistics.differences import noise_of_runs, paired_differences, resolution
from ffprof.analysis.statistics.looks import ERROR
from ffprof.errors import UsageError
from ffprof.records.learning import LearningRecord, LearningRun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ffprof.analysis.statistics.noise import Noise

ZONE_POINTS = 0.5  # accuracies within half a percentage point count as the same
FEWEST_SEEDS = 3  # a standard deviation of two is no more than their difference
AccuracyFinding = Literal[
    "better",
    "worse",
    "does not differ",
    "not worse",
    "inconclusive",
    "too few seeds",
    "not comparable",
]
WORDS: dict[AccuracyFinding, str] = {
    "better": "better",
    "worse": "worse",
    "does not differ": f"does not differ by more than {ZONE_POINTS:g} points",
    "not worse": f"not worse by more than {ZONE_POINTS:g} points",
    "inconclusive": "inconclusive",
    "too few seeds": f"too few seeds to tell (at least {FEWEST_SEEDS})",
    "not comparable": "not comparable",
}


@dataclass(frozen=True, kw_only=True)
class AccuracyVerdict:
    """What is said of one difference, ``workload`` less ``baseline``, in points.

    ``about`` is ``labels`` where both sides are of ``workload``: a head that was trained on coarse
    labels, less a fine head that is graded on them.
    """

    about: Literal["rows", "labels"]
    task: int
    workload: str
    baseline: str
    finding: AccuracyFinding
    points: float | None
    interval: tuple[float, float] | None
    seeds: int
    sentence: str


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One side of a comparison: accuracies in percent by seed, or why there is no comparing."""

    name: str
    points: Mapping[int, float]
    images: int
    objection: str = ""


def judge_learning(
    record: LearningRecord, baseline: str | None = None
) -> tuple[AccuracyVerdict, ...]:
    """Every workload against the baseline in each task, then coarse labels against fine ones.

    Args:
        record: a study, finished or not.
        baseline: a workload; the first of the plan by default.

    Raises:
        UsageError: the baseline is not in the record.
    """
    plan = record.plan
    theirs = baseline_of(record, baseline)
    others = [name for name in plan.workloads if name != theirs]
    pairs = label_pairs(record)
    count = len(plan.tasks) * len(others) + len(pairs) * len(plan.workloads)
    if not count:
        return ()
    error, runs = ERROR / count, ended_runs(record)
    tables = [
        {name: _side(record, runs[task, name], name) for name in plan.workloads}
        for task in range(len(plan.tasks))
    ]
    noises = _noises([list(table.values()) for table in tables])
    found = [
        _judge(
            "rows", task, name, theirs, (table[name], table[theirs]), noises[task], error,
            f"at {task_words(record, task)}, " if len(plan.tasks) > 1 else "",
        )
        for task, table in enumerate(tables)
        for name in others
    ]  # fmt: skip
    for fine, coarse in pairs:
        heads = {
            name: (
                _side(record, runs[coarse, name], "a head trained on coarse labels"),
                _side(record, runs[fine, name], "a fine head graded on them", graded=True),
            )
            for name in plan.workloads
        }
        (noise,) = _noises([[side for both in heads.values() for side in both]])
        found += [
            _judge("labels", coarse, name, name, both, noise, error, f"{name}: ")
            for name, both in heads.items()
        ]
    return tuple(found)


def baseline_of(record: LearningRecord, baseline: str | None) -> str:
    """The workload that others are compared with: the first of the plan unless one is named.

    Raises:
        UsageError: it is not in the record.
    """
    names = record.plan.workloads
    if baseline is not None and baseline not in names:
        raise UsageError(
            f"there is no workload {baseline[:100]!r} in the record", f"it has {', '.join(names)}"
        )
    return names[0] if baseline is None else baseline


def label_pairs(record: LearningRecord) -> list[tuple[int, int]]:
    """Tasks with fine and with coarse labels, by place, that have the same images."""
    tasks = [
        (place, task.labels, task.model_copy(update={"labels": "fine", "classes": 2}))
        for place, task in enumerate(record.plan.tasks)
    ]
    return [
        (fine, coarse)
        for fine, labels, images in tasks
        for coarse, others, same in tasks
        if (labels, others) == ("fine", "coarse") and images == same
    ]


def place_of(low: float, high: float) -> AccuracyFinding:
    """What an interval of a difference, in points, allows to be said."""
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    if low >= -ZONE_POINTS:
        return "does not differ" if high <= ZONE_POINTS else "not worse"
    return "inconclusive"


def points_words(value: float) -> str:
    """An amount of points without its sign: two decimals, more where they would say zero."""
    amount = abs(value)
    return f"{amount:.2f}" if amount >= 0.005 or amount < 5e-5 else f"{amount:.1g}"


def interval_words(low: float, high: float, less: str = "less", more: str = "more") -> str:
    """``0.90 to 1.58`` where both ends have one sign, else ``0.50 less to 0.26 more``."""
    if low > 0 or high < 0:
        return " to ".join(points_words(end) for end in sorted((low, high), key=abs))
    return f"{points_words(low)} {less} to {points_words(high)} {more}"


def diverged_words(runs: Sequence[LearningRun], planned: int) -> str:
    """In how many of the planned seeds a row diverged, in words; empty if in none."""
    count = sum(run.outcome == "diverged" for run in runs)
    return f"diverged in {count} of {planned} seeds" if count else ""


def _side(
    record: LearningRecord, runs: Sequence[LearningRun], name: str, *, graded: bool = False
) -> _Side:
    scored = [
        (run, points) for run in runs if (points := percent_of(run, graded=graded)) is not None
    ]
    told = diverged_words(runs, len(record.plan.seeds))
    if not told and not scored:
        ended = Counter(run.outcome for run in runs)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in ended.items())
        told = f"has no score ({counts or 'not run'})"
    return _Side(
        name=name,
        points={run.seed: points for run, points in scored},
        images=min((run.test.images for run, _ in scored if run.test is not None), default=1),
        objection=f"{name} {told}" if told else "",
    )


def _noises(tables: Sequence[Sequence[_Side]]) -> list[Noise | None]:
    """What the rows of each task know of noise; None for a task with fewer seeds than others."""
    blocks = [_block([one.points for one in sides if not one.objection]) for sides in tables]
    seeds = max((block.shape[-1] for block in blocks if block is not None), default=0)
    full = [block for block in blocks if block is not None and block.shape[-1] == seeds]
    images = max(one.images for sides in tables for one in sides)
    found = iter(noise_of_runs(full, resolution(images)) if full else [])
    return [
        next(found) if block is not None and block.shape[-1] == seeds else None for block in blocks
    ]


def _block(rows: Sequence[Mapping[int, float]]) -> NDArray[np.float64] | None:
    """Rows by seeds that all of them have; rows with few seeds are left out where that is more."""
    import numpy as np

    fullest = sorted(rows, key=len, reverse=True)
    best, most = None, 0
    for count in range(2, len(fullest) + 1):
        common = sorted(set.intersection(*(set(row) for row in fullest[:count])))
        worth = (count - 1) * (len(common) - 1)
        if worth > most:
            best, most = (fullest[:count], common), worth
    return None if best is None else np.array([[row[s] for s in best[1]] for row in best[0]])


def _judge(
    about: Literal["rows", "labels"],
    task: int,
    workload: str,
    baseline: str,
    sides: tuple[_Side, _Side],
    noise: Noise | None,
    error: float,
    where: str,
) -> AccuracyVerdict:
    import numpy as np

    ours, theirs = sides
    common = sorted(ours.points.keys() & theirs.points.keys())
    objection = ours.objection or theirs.objection
    if not objection and not common:
        objection = f"{ours.name} and {theirs.name} have no seed in common"
    points: float | None = None
    interval: tuple[float, float] | None = None
    finding: AccuracyFinding = "not comparable"
    if objection:
        sentence = f"{where}{ours.name} against {theirs.name}: not comparable, {objection}"
    else:
        mine, other = (np.array([[side.points[s] for s in common]]) for side in sides)
        points = float((mine - other).mean())
        finding, told = "too few seeds", _seeds(common)
        if len(common) >= FEWEST_SEEDS:
            # Accuracies are steps of one image: the side with fewer images has the larger ones.
            least = resolution(min(side.images for side in sides))
            found = paired_differences(mine, other, error, noise, least)
            half = float(found.half[0])
            interval = (points - half, points + half)
            finding, told = place_of(*interval), f"{interval_words(*interval)}, {told}"
        sentence = (
            f"{where}{ours.name} reads {points_words(points)} points "
            f"{'more' if points >= 0 else 'less'} than {theirs.name} ({told}): {WORDS[finding]}"
            f"{_inside(finding, interval)}"
        )
    return AccuracyVerdict(
        about=about,
        task=task,
        workload=workload,
        baseline=baseline,
        finding=finding,
        points=points,
        interval=interval,
        seeds=len(common),
        sentence=sentence,
    )


def _seeds(common: Sequence[int]) -> str:
    return f"{len(common)} seed{'' if len(common) == 1 else 's'}"


def _inside(finding: AccuracyFinding, interval: tuple[float, float] | None) -> str:
    """That a difference which is sure is small, too, where that is sure."""
    if finding not in ("better", "worse") or interval is None:
        return ""
    largest = max(map(abs, interval))
    return f", by no more than {ZONE_POINTS:g} points" if largest <= ZONE_POINTS else ""
