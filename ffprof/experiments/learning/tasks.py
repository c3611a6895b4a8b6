"""The tasks of a learning study, from the words of ``ffprof learn``: classes, images, labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from ffprof.errors import UsageError
from ffprof.experiments.learning.options import LearningOptions
from ffprof.harness.data.catalogue import DATA
from ffprof.harness.data.folder import two_levels
from ffprof.records.learning import Task, Teacher
from ffprof.records.recipe import Recipe
from ffprof.records.store import first_problem

SWEPT = ("classes", "samples", "samples-per-class", "labels")


def class_counts(recipe: Recipe) -> tuple[int, int]:
    """How many classes the data has, and how many groups of them; no group is 0.

    Raises:
        DataError: a folder cannot be read.
    """
    if recipe.data == "imagefolder":
        levels = two_levels(recipe.data_root)
        return (recipe.classes, 0) if levels is None else (len(levels[0]), len(set(levels[1])))
    info = DATA.get(recipe.data)
    return recipe.classes, 0 if info is None else info.coarse_classes or 0


def parse_tasks(
    asked: LearningOptions, data: str, classes: int, groups: int
) -> tuple[str, tuple[Task, ...]]:
    """What is swept, and the tasks; one task without a sweep.

    Args:
        asked: the options.
        data: the kind of data.
        classes: that the data has.
        groups: of these classes, which coarse labels name; 0 without.

    Raises:
        UsageError: a task that cannot be.
    """
    base: dict[str, Any] = {
        "classes": asked.classes,
        "drawn_by": asked.drawn_by,
        "samples": asked.samples,
        "samples_per_class": asked.samples_per_class,
        "labels": asked.labels,
    }
    swept, values = "", [base]
    if asked.sweep is not None:
        swept, values = _swept(asked.sweep, base)
    if swept == "labels" and (asked.classes or asked.samples_per_class):
        option = "--classes" if asked.classes else "--samples-per-class"
        raise UsageError(
            f"{option} chooses other images for coarse labels than for fine ones",
            "leave it out of a sweep over labels, or use --samples",
        )
    teacher = _teacher(asked, data)
    _check_meant(asked, data, swept)
    return swept, tuple(_task(one, teacher, data, classes, groups) for one in values)


def _check_meant(asked: LearningOptions, data: str, swept: str) -> None:
    """Refuse what would be without effect."""
    if data == "synthetic":
        raise UsageError(
            "--data synthetic is noise with random labels: nothing can be learned of it",
            "use --data teacher, which is noise with labels that can",
        )
    if asked.drawn_by is not None and data == "teacher":
        raise UsageError(
            "--drawn-by draws classes of a data set, and a teacher makes its own",
            "leave it out; --teacher-seed makes other ones",
        )
    if asked.drawn_by is not None and asked.classes is None and swept != "classes":
        raise UsageError(
            "--drawn-by draws some of the classes, and all are used",
            "say how many with --classes or --sweep classes=...",
        )
    if asked.unbalanced and (asked.samples_per_class or swept == "samples-per-class"):
        raise UsageError(
            "--unbalanced leaves it to the teacher how many images a class has",
            "use --samples in the place of --samples-per-class",
        )
    if asked.target is not None and not asked.validation:
        raise UsageError(
            "--target is a validation accuracy, and --validation 0 leaves no images for one",
            "leave one of them out",
        )


def _swept(words: str, base: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    name, _, listed = words.partition("=")
    if name not in SWEPT or not listed:
        raise UsageError(
            f"--sweep {words!r} is not possible", f"write NAME=VALUE,VALUE with {', '.join(SWEPT)}"
        )
    field = name.replace("-", "_")
    default = "fine" if field == "labels" else None
    if base[field] != default:
        raise UsageError(f"--sweep {words} and --{name} both say what {name} is", "leave one out")
    texts = [text.strip() for text in listed.split(",")]
    if len(set(texts)) < len(texts):
        raise UsageError(f"--sweep {words}: a value is there twice", "name each value once")
    if field == "labels":
        return name, [{**base, field: text} for text in texts]
    if not all(text.isdecimal() for text in texts):
        raise UsageError(f"--sweep {words} holds what is no whole number", f"write {name}=2,4,8")
    return name, [{**base, field: int(text)} for text in texts]


def _task(
    values: dict[str, Any], teacher: Teacher | None, data: str, classes: int, groups: int
) -> Task:
    """One task; its classes are by default all that there are.

    Raises:
        UsageError: more classes than there are, or another impossible value.
    """
    most = classes
    if values["labels"] == "coarse":
        if not groups:
            known = [one.name for one in DATA.values() if one.coarse_classes]
            raise UsageError(
                f"--labels coarse: {data} has no groups of classes",
                f"use {', '.join(known)}, or a folder of two levels",
            )
        most = groups
    wanted = values["classes"]
    if teacher is None and wanted is not None and wanted > most:
        raise UsageError(
            f"--classes {wanted}: {data} has {most}{' coarse' if most != classes else ''} classes",
            f"use at most {most}",
        )
    found = {**values, "classes": most if wanted is None else wanted}
    if teacher is not None:
        total, each = found["samples"], found["samples_per_class"]
        if total is not None and each is not None:
            raise UsageError("--samples and --samples-per-class both say how many", "leave one out")
        if each is not None:
            total = each * found["classes"]
        if total is not None:
            teacher = teacher.model_copy(update={"samples": total})
        found |= {"samples": None, "samples_per_class": None}
    task: Task = valid(Task, **found, teacher=teacher)
    few = task.samples if teacher is None else teacher.samples
    if few is not None and few < task.classes:
        raise UsageError(
            f"--samples {few} leaves some of {task.classes} classes without an image",
            f"use at least {task.classes}",
        )
    return task


def _teacher(asked: LearningOptions, data: str) -> Teacher | None:
    given = {
        "depth": asked.teacher_depth,
        "width": asked.teacher_width,
        "label_noise": asked.label_noise,
        "seed": asked.teacher_seed,
        "test": asked.test_samples,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if data != "teacher":
        if given or asked.unbalanced:
            raise UsageError("there is no teacher without --data teacher", "add it")
        return None
    if asked.labels == "coarse":
        raise UsageError("--labels coarse: a teacher's classes have no groups", "leave it out")
    teacher: Teacher = valid(Teacher, **given, balanced=not asked.unbalanced)
    return teacher


def valid(model: Any, **values: Any) -> Any:
    """A part of a study's record.

    Raises:
        UsageError: it cannot be.
    """
    try:
        return model(**values)
    except ValidationError as error:
        problem = f"the study is not possible: {first_problem(error)}"
        raise UsageError(problem, "--help shows what is") from error


def check_batch(batch: int, tasks: Sequence[Task]) -> None:
    """Every task must fill a batch, as far as can be seen without its images."""
    for task in tasks:
        few = task.images
        if few is not None and few < batch:
            raise UsageError(
                f"{few} training images are fewer than a batch of {batch}",
                "use a smaller --batch (and --micro-batch), or more images",
            )
