"""What a trial's child tells its parent, torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field

from ffprof.records.audit import Conditions, Debit, Fact, Loss, Memory, Outcome, Throughput


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
