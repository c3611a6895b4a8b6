"""What a paper's commands would take on a card: estimated steps, times how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffprof.errors import FfprofError
from ffprof.estimator.target import Estimated, target_for
from ffprof.estimator.worker import estimate_child
from ffprof.experiments.campaign import Progress
from ffprof.experiments.estimate import LIMIT_SECONDS
from ffprof.experiments.learning.options import LearningOptions
from ffprof.experiments.learning.plan import parse_seeds
from ffprof.experiments.learning.tasks import parse_tasks
from ffprof.experiments.options import BudgetChoice, Options
from ffprof.experiments.paper.plan import PaperRun, options_of
from ffprof.experiments.selection import change_recipe, choose_preset, choose_workloads
from ffprof.experiments.session import open_session
from ffprof.experiments.terms import cuda_of
from ffprof.hardware.machine import resolve_threads
from ffprof.harness.data.catalogue import DATA
from ffprof.harness.process.calls import run_series
from ffprof.harness.process.child import Ending
from ffprof.records.estimate import PeakRow
from ffprof.records.learning import Task
from ffprof.records.recipe import DATA_CLASSES, Recipe
from ffprof.records.statement import Command, Forecast

UNTIMED = 6  # steps of a trial in addition to those of warm-up and those that are timed


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A workload under a recipe, and how many steps of it a command takes."""

    workload: str
    recipe: Recipe
    steps: float


def forecast(
    commands: Sequence[Command], budget: BudgetChoice, progress: Progress
) -> dict[str, Forecast]:
    """Forecasts by the words of each command; those that cannot be estimated are left out.

    Raises:
        FfprofError: torch cannot be started, or the budget has no size.
    """
    asked: dict[str, list[Asked]] = {}
    for command in commands:
        try:
            asked[str(command)] = asked_of(command)
        except FfprofError:
            continue  # --run says why
    pieces = {(one.workload, one.recipe.digest()): one for some in asked.values() for one in some}
    if not pieces:
        return {}
    first = next(iter(pieces.values())).recipe
    with open_session(first, dry_run=True) as session:
        cuda = cuda_of(session.found)
        target = target_for(budget.budget, budget.card, cuda, session.machine())
        ordered = list(pieces.items())
        rows: dict[tuple[str, str], PeakRow] = {}

        def answered(number: int, ending: Ending) -> None:
            found = ending.answer(Estimated)
            if isinstance(found, Estimated):
                rows[ordered[number][0]] = found.row
            if number + 1 < len(ordered):
                progress.starts(ordered[number + 1][1].workload, number + 1, len(ordered))

        progress.starts(ordered[0][1].workload, 0, len(ordered))
        try:
            run_series(
                session.server,
                estimate_child,
                [(one.workload, one.recipe) for _, one in ordered],
                LIMIT_SECONDS,
                answered,
                (target, None),
            )
        finally:
            progress.done()
    return {words: _sum(some, rows) for words, some in asked.items()}


def _sum(asked: Sequence[Asked], rows: dict[tuple[str, str], PeakRow]) -> Forecast:
    found = [(one, rows.get((one.workload, one.recipe.digest()))) for one in asked]
    speeds = [
        one.steps * row.throughput.step_seconds[0]
        for one, row in found
        if row is not None and row.throughput is not None
    ]
    reserved = [
        row.memory.reserved_peak_bytes
        for _, row in found
        if row is not None and row.memory is not None and row.memory.reserved_peak_bytes is not None
    ]
    return Forecast(
        seconds=sum(speeds) if len(speeds) == len(found) else None,
        reserved_bytes=max(reserved, default=None),
        unfit=tuple(
            one.workload
            for one, row in found
            if row is not None and row.fit is not None and row.fit.answer == "does not fit"
        ),
    )


def asked_of(command: Command) -> list[Asked]:
    """Every workload of a command with its steps."""
    # Data need not be here to be forecast: shapes are enough.
    bare = Command(
        verb=command.verb, options={k: v for k, v in command.options.items() if k != "data"}
    )
    options, learning = options_of(bare, PaperRun(out=Options.out))
    data = command.options.get("data")
    preset = choose_preset(options.preset, "cuda").recipe
    workloads = choose_workloads(options.workloads or "core")
    classes = preset.classes if data is None else DATA_CLASSES.get(data, preset.classes)
    tasks: tuple[Task, ...] = ()
    if command.verb == "learn":
        info = DATA.get(data or preset.data)
        groups = 0 if info is None else info.coarse_classes or 0
        tasks = parse_tasks(learning, data or preset.data, classes, groups)[1]
        classes = max(task.classes for task in tasks)
    changes = {**options.changes, "classes": classes, "data": "synthetic"}
    recipe = resolve_threads(change_recipe(preset, changes))
    if command.verb == "learn":
        steps = _steps_of_study(learning, tasks, data or preset.data, recipe)
    else:
        steps = options.rounds * float(recipe.warmup_steps + recipe.steps + UNTIMED)
    return [Asked(workload=one.id, recipe=recipe, steps=steps) for one in workloads]


def _steps_of_study(
    asked: LearningOptions, tasks: Sequence[Task], data: str, recipe: Recipe
) -> float:
    """Optimizer steps that one workload takes over all tasks and seeds."""
    images = sum(_training_images(task, data, asked.validation) for task in tasks)
    return images / recipe.batch * asked.epochs * len(parse_seeds(asked.seeds, 0))


def _training_images(task: Task, data: str, validation: float) -> float:
    """Of a task; images that are asked for by number train, and those of validation come on top."""
    if task.images is not None:
        return task.images
    info = DATA.get(data)
    if info is None:
        return 0
    share = 1.0 if task.labels == "coarse" else task.classes / info.classes
    return info.train * share * (1 - validation)
