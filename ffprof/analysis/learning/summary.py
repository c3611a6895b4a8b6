"""One row a task and workload of a learning study: its seeds drawn together, without judging."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from ffprof.analysis.statistics.differences import Mean, mean_of
from ffprof.analysis.summary import MEMORY_MEANING, Spread, memory_of, spread_of
from ffprof.records.learning import LearningOutcome, LearningRecord, LearningRun, Score, Task


@dataclass(frozen=True, kw_only=True)
class Target:
    """How many of the runs reached the target, and what it took; None unless all of them did."""

    reached: int
    runs: int
    seconds: Spread | None
    images: Spread | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that ended without a test score."""

    seed: int
    outcome: LearningOutcome
    message: str


@dataclass(frozen=True, kw_only=True)
class LearningRow:
    """What the runs of one workload on one task say together; figures are of runs that ended well.

    Accuracies are in percent. ``accuracy`` is by ``rule``, ``rules`` by all others; ``coarse``
    grades the same predictions on groups of classes. ``validation`` is after the last epoch.
    ``loss`` is on the test set. ``memory`` is the figure that audits judge by, ``memory_is`` says
    which. ``images_per_second`` are medians over epochs after the first. ``shared``: some run had
    others beside it, so that times are those of a shared machine. ``seconds`` are of training,
    validation left out. ``target`` is None where none was set.
    """

    task: int
    workload: str
    outcomes: dict[LearningOutcome, int]
    planned: int
    rule: str
    accuracy: Mean | None
    rules: dict[str, Mean]
    coarse: Mean | None
    validation: Mean | None
    loss: Mean | None
    test_images: int | None
    memory: Spread | None
    memory_is: str
    images_per_second: Spread | None
    seconds: Spread | None
    shared: bool
    joules: Spread | None
    joules_per_image: Spread | None
    target: Target | None
    failures: tuple[Failure, ...]

    @property
    def ended(self) -> int:
        """How many seeds have ended, well or not."""
        return sum(count for name, count in self.outcomes.items() if name != "unfinished")


def summarise_learning(record: LearningRecord) -> list[LearningRow]:
    """Rows by task, and within it in the order of the plan; one without runs is there, too."""
    runs: dict[tuple[int, str], list[LearningRun]] = {
        (task, name): [] for task in range(len(record.plan.tasks)) for name in record.plan.workloads
    }
    for run in record.runs:
        runs[run.task, run.workload].append(run)
    return [_row(record, task, name, some) for (task, name), some in runs.items()]


def task_words(record: LearningRecord, task: int) -> str:
    """What a task is among those of its record: ``10 classes``, ``500 images``; its value first."""
    value = swept_value(record, task)
    noun = {
        "classes": "classes", "samples": "images", "samples-per-class": "images a class",
        "labels": "labels", "": "classes",
    }[record.plan.swept]  # fmt: skip
    return f"{value} {noun}"


def swept_value(record: LearningRecord, task: int) -> str:
    """The value of what is swept; the number of classes where nothing is."""
    one, swept = record.plan.tasks[task], record.plan.swept
    if swept == "labels":
        return one.labels
    if swept == "samples":
        return f"{samples_of(one) or 0:,}"
    return f"{one.samples_per_class if swept == 'samples-per-class' else one.classes:,}"


def samples_of(task: Task) -> int | None:
    """How many images a task was given; None for all of them."""
    return task.samples if task.teacher is None else task.teacher.samples


def _row(record: LearningRecord, task: int, name: str, runs: Sequence[LearningRun]) -> LearningRow:
    outcomes: dict[LearningOutcome, int] = {}
    for run in runs:
        outcomes[run.outcome] = outcomes.get(run.outcome, 0) + 1
    good = [run for run in runs if run.outcome == "ok"]
    scores = [run.test for run in good if run.test is not None]
    rule = good[0].rule if good else ""
    energies = [run.energy for run in good]
    return LearningRow(
        task=task,
        workload=name,
        outcomes=outcomes,
        planned=len(record.plan.seeds),
        rule=rule,
        accuracy=_percent(score.accuracy.get(rule) for score in scores),
        rules={
            other: mean
            for other in dict.fromkeys(one for run in good for one in run.rules)
            if other != rule and (mean := _percent(s.accuracy.get(other) for s in scores))
        },
        coarse=_percent(score.coarse_accuracy.get(rule) for score in scores),
        validation=_percent(
            None if (last := _last(run)) is None else last.accuracy.get(rule) for run in good
        ),
        loss=mean_of([one for score in scores if (one := score.loss.get(rule)) is not None]),
        test_images=min((score.images for score in scores), default=None),
        memory=spread_of([memory_of(run) for run in good]),
        memory_is=MEMORY_MEANING[good[0].device] if good else "",
        images_per_second=spread_of([speed_of(run) for run in good]),
        seconds=spread_of([run.train_seconds for run in good]),
        shared=any(run.beside for run in good),
        joules=spread_of([None if one is None else one.joules for one in energies]),
        joules_per_image=spread_of(
            [None if one is None else one.joules_per_image for one in energies]
        ),
        target=_target(record.training.target, [r for r in runs if r.outcome != "unfinished"]),
        failures=tuple(
            Failure(seed=run.seed, outcome=run.outcome, message=run.message)
            for run in runs
            if run.outcome not in ("ok", "unfinished")
        ),
    )


def ended_runs(record: LearningRecord) -> dict[tuple[int, str], list[LearningRun]]:
    """The runs that have ended, well or not, by task and workload."""
    found: dict[tuple[int, str], list[LearningRun]] = {
        (task, name): [] for task in range(len(record.plan.tasks)) for name in record.plan.workloads
    }
    for run in record.runs:
        if run.outcome != "unfinished":
            found[run.task, run.workload].append(run)
    return found


def percent_of(run: LearningRun, *, graded: bool = False) -> float | None:
    """Test accuracy in percent by the run's rule, ``graded`` on groups of classes; None if none."""
    if run.test is None:
        return None
    share = (run.test.coarse_accuracy if graded else run.test.accuracy).get(run.rule)
    return None if share is None else 100 * share


def speed_of(run: LearningRun) -> float | None:
    """Images per second: the median over epochs after the first, which also warms up."""
    epochs = run.epochs[1:] or run.epochs
    return median(epoch.images_per_second for epoch in epochs) if epochs else None


def reach(run: LearningRun, target: float) -> tuple[float, int] | None:
    """Seconds of training and images until validation is at ``target`` or above; None if never.

    To the end of the first such epoch; nothing is interpolated.
    """
    seconds, images = 0.0, 0
    for epoch in run.epochs:
        seconds, images = seconds + epoch.seconds, images + epoch.images
        scored = None if epoch.validation is None else epoch.validation.accuracy.get(run.rule)
        if scored is not None and scored >= target:
            return seconds, images
    return None


def _target(target: float | None, runs: Sequence[LearningRun]) -> Target | None:
    if target is None or not runs:
        return None
    reached = [reach(run, target) for run in runs]
    return Target(
        reached=sum(one is not None for one in reached),
        runs=len(runs),
        seconds=spread_of([None if one is None else one[0] for one in reached]),
        images=spread_of([None if one is None else one[1] for one in reached]),
    )


def _last(run: LearningRun) -> Score | None:
    return run.epochs[-1].validation if run.epochs else None


def _percent(shares: Iterable[float | None]) -> Mean | None:
    """Of the runs that have one."""
    return mean_of([100 * share for share in shares if share is not None])
