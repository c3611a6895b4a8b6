"""The record of a learning study: what was trained on what, and what it scored on held-out images.

A file of its own in addition to those of audits, with the same rules about units and nulls.
Accuracies are shares of images from 0 to 1. The validation images are a part of the training set;
the test set is read once, after the last epoch of a run.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, model_validator

from ffprof.records.audit import Budget, Machine, WorkloadFile
from ffprof.records.base import (
    Count,
    Digest,
    Label,
    Listed,
    Name,
    Named,
    Notes,
    Part,
    Seconds,
    Size,
    Text,
)
from ffprof.records.recipe import Recipe
from ffprof.records.search import MOST_TRIALS, Search
from ffprof.records.trial import Conditions, Debit, Device, Energy, Evidence, Memory

LEARNING_VERSION = 1
MOST_RUNS = 10_000  # of one record
MOST_EPOCHS = 100_000  # of one run
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Labels = Literal["fine", "coarse"]
LearningOutcome = Literal["ok", "diverged", "oom", "timeout", "crashed", "refused", "unfinished"]


class Training(Part):
    """How long and under which schedule every workload is trained.

    ``warmup_epochs`` raise the learning rate linearly, then it follows ``schedule`` to the end,
    once an optimizer step. ``validation`` is the share of the training set that is held back.
    ``target`` is the validation accuracy to which time and images are counted. Labels are never
    smoothed: ``label_smoothing`` says so. ``shift`` is how many pixels augmented images are shifted
    by at most; None is what is usual for the data.
    """

    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)]
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    augmentation: bool = True
    shift: Annotated[int, Field(ge=0, le=1024)] | None = None
    label_smoothing: Literal[0] = 0
    validation: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    target: Share | None = None

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"{self.warmup_epochs:g} epochs of warm-up are more than {self.epochs} epochs"
            )
        return self


class Teacher(Part):
    """The synthetic task: white noise, labelled by a random convolutional network.

    ``depth`` layers of ``width`` channels; a share of ``label_noise`` training labels is replaced
    by random ones. ``balanced``: every class has as many images. ``samples`` are for training,
    ``test`` for the test; validation images come on top.
    """

    depth: Annotated[int, Field(ge=1, le=100)] = 3
    width: Annotated[int, Field(ge=1, le=4096)] = 32
    samples: Annotated[int, Field(ge=2, le=10_000_000)] = 6000
    test: Annotated[int, Field(ge=2, le=10_000_000)] = 2000
    label_noise: Share = 0.0
    balanced: bool = True
    seed: Seed = 0


class Task(Part):
    """What is to be learned: which images, and which labels of them.

    ``classes`` outputs: the first so many classes of the data, or as many drawn by ``drawn_by``.
    Training images are all that the split leaves, or ``samples`` of them, or
    ``samples_per_class`` of each class, drawn by the run's seed. With coarse ``labels``, the
    classes are the groups. A fine head on data with groups is graded on them, too.
    """

    classes: Annotated[int, Field(ge=2, le=1_000_000)]
    drawn_by: Seed | None = None
    samples: Size | None = None
    samples_per_class: Size | None = None
    labels: Labels = "fine"
    teacher: Teacher | None = None

    @property
    def images(self) -> int | None:
        """Training images in all; None where it is all that the split leaves."""
        if self.teacher is not None:
            return self.teacher.samples
        if self.samples_per_class is not None:
            return self.samples_per_class * self.classes
        return self.samples

    @model_validator(mode="after")
    def _counts_samples_once(self) -> Self:
        if self.samples is not None and self.samples_per_class is not None:
            raise ValueError("samples and samples_per_class both say how many images there are")
        return self


class Score(Part):
    """Accuracy and mean cross-entropy of each prediction rule on ``images`` images.

    ``coarse_accuracy`` grades the same predictions on groups of classes, where there are some. A
    loss is null where it is not finite, or the rule gives no logits.
    """

    images: Size
    accuracy: Named[Share]
    loss: Named[float | None] = Field(default_factory=dict)
    coarse_accuracy: Named[Share] = Field(default_factory=dict)


class Epoch(Part):
    """One pass over the training images, and what it had learned by then.

    ``seconds`` are of training, ``data_seconds`` the part of them that making batches took, and
    ``validation_seconds`` come on top. ``loss`` is the mean over the optimizer steps; null where
    it is not finite. ``learning_rate`` is that of the last step.
    """

    number: Size
    images: Size
    learning_rate: float
    loss: float | None
    validation: Score | None = None
    seconds: Seconds
    data_seconds: Seconds
    validation_seconds: Seconds = 0.0

    @property
    def images_per_second(self) -> float:
        """Of training alone."""
        return self.images / self.seconds if self.seconds else 0.0


class LearningRun(Part):
    """One workload trained on one task from one seed, in a process of its own.

    ``task`` is the place in the record's tasks. ``test`` is null until the last epoch is over.
    ``beside`` is how many other runs the machine had at the same time: with any, times are those
    of a shared machine. ``resumed`` counts how often it went on from its checkpoint. ``settings``
    are learning rate, weight decay and what else its method has to be set; empty in older records.
    ``test_reads`` is how often its test set was read, at most: more than once only if it was
    stopped while it was tested; 0 in older records.
    """

    id: Name
    workload: Name
    method: Name
    schedule: Name
    family: Name
    task: Count
    seed: Seed
    micro_batch: Size
    device: Device
    outcome: LearningOutcome
    message: Text = ""
    rules: Listed[Name] = ()
    parameters: Count | None = None
    training_images: Count | None = None
    steps: Count | None = None
    epochs: Annotated[tuple[Epoch, ...], FailFast()] = Field(default=(), max_length=MOST_EPOCHS)
    test: Score | None = None
    test_reads: Count = 0
    memory: Memory = Memory()
    energy: Energy | None = None
    debit: Debit | None = None
    conditions: Conditions = Conditions()
    beside: Count = 0
    resumed: Count = 0
    settings: Named[float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ok_means_tested(self) -> Self:
        if self.outcome == "ok" and self.test is None:
            raise ValueError("a run with outcome ok must hold its test score")
        if self.outcome != "ok" and self.test is not None:
            raise ValueError("the test set is read after the last epoch only")
        if self.test is not None and self.rule not in self.test.accuracy:
            raise ValueError(
                f"the test score lacks the rule {self.rule!r} that the run is judged by"
            )
        return self

    @property
    def rule(self) -> str:
        """The prediction rule that the run is judged by: its method's first."""
        return self.rules[0] if self.rules else ""

    @property
    def accuracy(self) -> float | None:
        """On the test set, by that rule."""
        return None if self.test is None else self.test.accuracy[self.rule]

    @property
    def train_seconds(self) -> float:
        """Of all epochs, validation left out."""
        return sum(epoch.seconds for epoch in self.epochs)


class LearningPlan(Part):
    """Which runs make the study complete: every workload on every task from every seed.

    ``swept`` names what the tasks differ in, where they are a sweep. Before them, ``tuning`` trials
    a workload search for its settings, under the first task and the first seed.
    """

    workloads: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)]
    families: Named[Name] = Field(default_factory=dict)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=1000)]
    tasks: Annotated[tuple[Task, ...], Field(min_length=1, max_length=1000)]
    swept: Literal["", "classes", "samples", "samples-per-class", "labels"] = ""
    tuning: Annotated[int, Field(ge=0, le=MOST_TRIALS)] = 0
    jobs: Size = 1
    run_limit_seconds: float | None = None
    trial_limit_seconds: float = 86_400.0
    files: Annotated[tuple[WorkloadFile, ...], Field(max_length=1000)] = ()

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        for name in ("workloads", "seeds", "tasks"):
            values = getattr(self, name)
            if any(one in values[:at] for at, one in enumerate(values)):
                raise ValueError(f"one of the {name} is planned twice")
        count = len(self.workloads) * len(self.seeds) * len(self.tasks)
        if count > MOST_RUNS:
            raise ValueError(f"{count:,} runs are more than {MOST_RUNS:,}")
        return self


# Of a file, as they are written, with two prediction rules: twice and more what digits take.
_RUN_BYTES, _EPOCH_BYTES, _SEARCH_TRIAL_BYTES = 4096, 1200, 512


def study_bytes(plan: LearningPlan, training: Training) -> int:
    """How large the file of a study likely gets."""
    runs = len(plan.workloads) * len(plan.seeds) * len(plan.tasks)
    searched = len(plan.workloads) * plan.tuning
    return runs * (_RUN_BYTES + training.epochs * _EPOCH_BYTES) + searched * _SEARCH_TRIAL_BYTES


class LearningRecord(Part):
    """All runs of one recipe and training, and where they ran.

    ``searches`` is how each workload was tuned. ``recipe`` has the settings that it began from.
    """

    schema_version: Literal[1] = 1
    kind: Literal["learning"] = "learning"
    created: datetime
    ffprof: Label
    command: Text
    recipe: Recipe
    training: Training
    recipe_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    plan: LearningPlan
    budget: Budget = Budget()
    machine: Machine
    evidence: Evidence
    searches: Annotated[tuple[Search, ...], Field(max_length=1000)] = ()
    runs: Annotated[tuple[LearningRun, ...], FailFast()] = Field(default=(), max_length=MOST_RUNS)
    notes: Notes = ()
    digest: Digest = ""

    @model_validator(mode="after")
    def _is_one_study(self) -> Self:
        if learning_digest(self.recipe, self.training) != self.recipe_hash:
            raise ValueError("recipe_hash does not belong to the recipe: the file was edited")
        ids = [run.id for run in self.runs]
        if len(set(ids)) != len(ids):
            raise ValueError("two runs have the same id")
        planned = {(s.workload, s.task, s.seed) for s in self.slots()}
        strange = [run.id for run in self.runs if (run.workload, run.task, run.seed) not in planned]
        if strange:
            raise ValueError(f"a run that was not planned: {strange[0]}")
        return self

    @model_validator(mode="after")
    def _tunes_alike(self) -> Self:
        names = [one.workload for one in self.searches]
        if len(set(names)) < len(names) or set(names) - set(self.plan.workloads):
            raise ValueError("a workload was tuned twice, or was not planned")
        for one in self.searches:
            if one.seed != self.plan.seeds[0] or len(one.trials) > self.plan.tuning:
                raise ValueError(f"the tuning of {one.workload} was not planned like this")
        if self.runs and (left := self.missing_trials()):
            raise ValueError(f"a run was trained before {left[0][1]} was tuned")
        return self

    @property
    def trials(self) -> tuple[LearningRun, ...]:
        """The runs, by the name that other records have for what was measured."""
        return self.runs

    def slots(self) -> list[RunSlot]:
        """Every run that is planned, by task, seed and workload."""
        return [
            RunSlot(workload=workload, task=task, seed=seed)
            for task in range(len(self.plan.tasks))
            for seed in self.plan.seeds
            for workload in self.plan.workloads
        ]

    def search(self, workload: str) -> Search | None:
        """How a workload was tuned, as far as it was."""
        return next((one for one in self.searches if one.workload == workload), None)

    def missing_trials(self) -> list[tuple[int, str]]:
        """Trials of searches that are planned and have not ended: number and workload."""
        done = {one.workload: len(one.trials) for one in self.searches}
        return [
            (number, workload)
            for number in range(self.plan.tuning)
            for workload in self.plan.workloads
            if number >= done.get(workload, 0)
        ]

    def missing(self) -> list[RunSlot]:
        """Planned runs that have not ended."""
        ended = {
            (run.workload, run.task, run.seed) for run in self.runs if run.outcome != "unfinished"
        }
        return [s for s in self.slots() if (s.workload, s.task, s.seed) not in ended]


class RunSlot(Part):
    """One planned run."""

    workload: Name
    task: Count
    seed: Seed

    @property
    def id(self) -> str:
        """The run's name in the record."""
        return f"t{self.task:02d}-s{self.seed}-{self.workload}"


def learning_digest(recipe: Recipe, training: Training) -> str:
    """SHA-256 over the recipe's digest and the training's canonical JSON."""
    older = None if training.shift is not None else {"shift"}  # what it was before there was one
    text = recipe.digest() + training.model_dump_json(exclude=older)
    return hashlib.sha256(text.encode()).hexdigest()
