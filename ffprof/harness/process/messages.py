"""What a run's child is told, and what children tell their parent; torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ffprof.records.audit import Conditions, Debit, Fact, Loss, Memory, Outcome, Throughput
from ffprof.records.learning import Epoch, Score, Task, Training
from ffprof.records.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a trial that ran to its end has to say; ``loss`` is None if none was reported.

    ``throughput`` is None only where an estimate knows no card. ``timed`` is when the timed phase
    began and ended, in ``time.monotonic`` seconds, and ``images`` how many went through it; both
    are of measured trials. ``operators`` counts those of one optimizer step; empty if unseen.
    """

    memory: Memory
    throughput: Throughput | None
    loss: Loss | None
    conditions: Conditions
    facts: dict[str, Fact]
    operators: dict[str, int] = field(default_factory=dict)
    timed: tuple[float, float] | None = None
    images: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrialStart:
    """The trial is about to begin; on a GPU, which one it uses."""

    gpu_uuid: str | None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The trial ran to its end."""

    report: Report
    debit: Debit | None = None


@dataclass(frozen=True, kw_only=True)
class Probed:
    """A short run without timing: what it takes of the GPU."""

    memory: Memory
    debit: Debit


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """One optimizer step, timed after a first one.

    ``before_seconds`` is what came before it: the data, the build and the first step.
    """

    step_seconds: float
    before_seconds: float


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What one run is to learn; ``recipe.seed`` is its seed.

    ``checkpoint`` is where its state is kept, under ``digest``, which no other run has; a trial of
    a search has none, and is not tested. ``settings`` are its workload's own, unless the defaults.
    """

    recipe: Recipe
    training: Training
    task: Task
    checkpoint: Path | None
    digest: str
    settings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """Epochs that a run has done and stored; ``restored`` those that its checkpoint held.

    ``timed`` is when the training of the epoch began and ended, validation left out, in
    ``time.monotonic`` seconds.
    """

    epochs: tuple[Epoch, ...]
    restored: bool = False
    timed: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A run was trained to its last epoch and tested."""

    test: Score
    memory: Memory
    conditions: Conditions
    rules: tuple[str, ...]
    parameters: int
    training_images: int
    steps: int
    debit: Debit | None = None


@dataclass(frozen=True, kw_only=True)
class Validated:
    """A trial of a search was trained to its last epoch; ``score`` is of the validation images."""

    score: Score
    debit: Debit | None = None


@dataclass(frozen=True, kw_only=True)
class Diverged:
    """A run ended because a loss is not finite; ``message`` says where that begins."""

    message: str
    debit: Debit | None = None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The trial did not, in a way that is an outcome.

    An estimate knows its figures even where memory runs out; they are in ``report``. ``debit`` is
    what was taken of a GPU by then; ``others``: memory ran out because of other processes on the
    GPU.
    """

    outcome: Outcome
    message: str
    report: Report | None = None
    debit: Debit | None = None
    others: bool = False
