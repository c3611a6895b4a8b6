"""From the words of ``ffprof learn`` to a study: tasks, seeds, training, recipe, and its file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from ffprof.errors import UsageError
from ffprof.experiments.learning.options import LearningOptions
from ffprof.experiments.learning.request import LearningRequest
from ffprof.experiments.learning.search import check_optuna
from ffprof.experiments.learning.tasks import check_batch, class_counts, parse_tasks, valid
from ffprof.experiments.options import Options
from ffprof.experiments.selection import all_workloads, change_recipe, check_recipe
from ffprof.experiments.session import Setup, set_up
from ffprof.experiments.terms import terms_for
from ffprof.hardware.machine import usable_cpus
from ffprof.records.audit import Device
from ffprof.records.base import check_size
from ffprof.records.files import new_path, prepare_folder, writing
from ffprof.records.learning import (
    LearningPlan,
    LearningRecord,
    Training,
    learning_digest,
    study_bytes,
)
from ffprof.records.recipe import Recipe
from ffprof.records.redaction import recorded, recorded_command
from ffprof.records.search import MOST_TRIALS
from ffprof.version import __version__
from ffprof.workload import Description

# Chosen for all methods alike (R); no search for it is recorded yet.
LEARNING_RATE = 2e-3


@contextmanager
def prepare_study(options: Options, asked: LearningOptions) -> Iterator[LearningRequest]:
    """The study that is ready to be run, as long as this context lasts.

    Raises:
        FfprofError: it is impossible; nothing is written then.
    """
    seeds = parse_seeds(asked.seeds, options.seed or 0)
    training = _training(asked)
    _check_tuning(asked)
    default = "" if options.workloads is not None else ",".join(_references())
    with set_up(options, default) as setup:
        device: Device = "cpu" if setup.kinds[0] == "cpu" else "cuda"
        recipe = _recipe(setup, asked)
        workloads = setup.chosen.workloads
        _check_steps(workloads)
        _check_jobs(asked.jobs, recipe.threads or 1, device)
        swept, tasks = parse_tasks(asked, recipe.data, *class_counts(recipe))
        check_batch(recipe.batch, tasks)
        terms = terms_for(setup.kinds[0], setup, paired=False)
        created = datetime.now(UTC)
        plan = valid(
            LearningPlan,
            workloads=tuple(one.id for one in workloads),
            families={one.id: one.family for one in workloads},
            seeds=seeds,
            tasks=tasks,
            swept=swept,
            tuning=asked.tune or 0,
            jobs=asked.jobs,
            run_limit_seconds=options.run_limit,
            trial_limit_seconds=asked.time_limit,
            files=setup.chosen.files,
        )
        _check_file(plan, training)
        wanted = setup.session.environment(recipe)
        skipped = setup.data.note() if setup.data else ""
        noted = (*terms.notes, *setup.chosen.notes(recipe), skipped, setup.session.crowd)
        record = LearningRecord(
            created=created,
            ffprof=__version__,
            command=recorded_command(["ffprof", *sys.argv[1:]]),
            recipe=recipe,
            training=training,
            recipe_hash=learning_digest(recipe, training),
            plan=plan,
            budget=terms.budget,
            machine=setup.session.machine(wanted, on_gpu=device == "cuda"),
            evidence=terms.evidence,
            notes=tuple(recorded(note) for note in noted if note),
        )
        prepare_folder(options.out)
        path = new_path(options.out, "learning", recipe.data, created)
        with writing(path):
            yield LearningRequest(
                record=record,
                workloads=workloads,
                device=device,
                path=path,
                context=setup.session.context(device),
                on_foreign=options.on_foreign,
                environment=wanted,
            )


def _check_file(plan: LearningPlan, training: Training) -> None:
    try:
        check_size(study_bytes(plan, training), f"{training.epochs:,} epochs of so many runs")
    except ValueError as error:
        raise UsageError(f"--epochs {training.epochs}: {error}", "use fewer runs") from error


def parse_seeds(words: str, first: int) -> tuple[int, ...]:
    """``3``: three seeds from ``first`` on; ``3,7,12``: these; ``3,``: this one.

    Raises:
        UsageError: no numbers, none at all, or one twice.
    """
    fix = "write how many, such as 3, or the seeds themselves, such as 0,1,5 or 5,"
    listed = words.removesuffix(",")
    try:
        numbers = [int(word) for word in listed.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {words!r} holds what is no whole number", fix) from error
    if len(numbers) == 1 and listed == words:
        if not 1 <= numbers[0] <= 1000:
            raise UsageError(f"--seeds {words}: a study has 1 to 1000 seeds", fix)
        return tuple(range(first, first + numbers[0]))
    if len(set(numbers)) < len(numbers):
        twice = next(one for one in numbers if numbers.count(one) > 1)
        raise UsageError(f"--seeds {words}: {twice} is there twice", "name each seed once")
    if min(numbers) < 0:
        raise UsageError(f"--seeds {words}: {min(numbers)} is negative", fix)
    return tuple(numbers)


def _training(asked: LearningOptions) -> Training:
    if asked.shift is not None and not asked.augmentation:
        raise UsageError("--shift is a part of --augmentation", "leave one of them out")
    warmup = min(1.0, asked.epochs / 10) if asked.warmup_epochs is None else asked.warmup_epochs
    training: Training = valid(
        Training,
        epochs=asked.epochs,
        schedule=asked.schedule,
        warmup_epochs=warmup,
        augmentation=asked.augmentation,
        shift=asked.shift,
        validation=asked.validation,
        target=asked.target,
    )
    return training


def _recipe(setup: Setup, asked: LearningOptions) -> Recipe:
    """With the optimizer that was requested; the learning rate has a default of its own."""
    recipe = setup.recipe
    given = {
        "name": asked.optimizer,
        "lr": LEARNING_RATE if asked.learning_rate is None else asked.learning_rate,
        "weight_decay": asked.weight_decay,
    }
    given = {name: value for name, value in given.items() if value is not None}
    optimizer = {**recipe.optimizer.model_dump(), **given}
    recipe = change_recipe(recipe, {"optimizer": optimizer})
    check_recipe(recipe, setup.chosen.workloads)
    return recipe


def _references() -> list[str]:
    """The core rows that are their method's own reference: one of each method."""
    found = [one.id for one in all_workloads()[0] if one.core and one.reference in ("", one.id)]
    if not found:
        raise UsageError("no core workload is registered", "name some with --workloads")
    return found


def _check_steps(workloads: Sequence[Description]) -> None:
    from ffprof.workload.step import StepDescription

    for one in workloads:
        if isinstance(one, StepDescription):
            raise UsageError(
                f"{one.id} is a step of its own: nothing can be predicted with it",
                "register a method with ffprof.register_workload, or leave it out",
            )


def _check_tuning(asked: LearningOptions) -> None:
    trials = asked.tune or 0
    if not 0 <= trials <= MOST_TRIALS:
        raise UsageError(
            f"--tune {trials}: a workload has 1 to {MOST_TRIALS:,} trials", "write how many"
        )
    if trials and not asked.validation:
        raise UsageError(
            "--validation 0 leaves no images to tune on", "leave it out, or leave out --tune"
        )
    if trials:
        check_optuna()


def _check_jobs(jobs: int, threads: int, device: Device) -> None:
    """More runs at a time than the machine has room for would only slow each other down."""
    most = 1 if device == "cuda" else max(1, usable_cpus() // threads)
    if jobs > most:
        cpus = f"are {usable_cpus()} processors, and a run takes {threads}"
        raise UsageError(
            f"--jobs {jobs}: there {'is one GPU' if device == 'cuda' else cpus}",
            f"use at most {most}, or fewer --threads",
        )
