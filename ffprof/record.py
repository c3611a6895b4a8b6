"""The record: the one file that an audit writes and everything else reads.

Units are in the names: integers in ``_bytes``, floats in ``_seconds``. What could not be read is
null, with the reason in the same object's ``unread`` map, never 0. The JSON Schema of this module
is exported to docs/record.schema.json.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ffprof.recipe import Metric, Recipe

SCHEMA_VERSION = 1  # of Record; a change that older readers cannot read raises it

Outcome = Literal["ok", "oom", "timeout", "crashed", "refused"]
Evidence = Literal["measured", "measured (cpu)", "emulated", "estimated"]
Device = Literal["cpu", "cuda"]
Bytes = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(max_length=4000)]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Memory(_Part):
    """Peaks of one trial. Which of them a device can give is in docs/measuring.md."""

    allocated_peak_bytes: Bytes | None = None
    reserved_peak_bytes: Bytes | None = None
    cold_allocated_peak_bytes: Bytes | None = None
    cold_reserved_peak_bytes: Bytes | None = None
    process_peak_bytes: Bytes | None = None
    device_peak_bytes: Bytes | None = None
    host_peak_bytes: Bytes | None = None
    live_tensor_peak_bytes: Bytes | None = None
    alloc_retries: Annotated[int, Field(ge=0)] | None = None
    oom_events: Annotated[int, Field(ge=0)] | None = None
    capped: bool | None = None
    breakdown: dict[Name, Bytes] = Field(default_factory=dict)
    unread: dict[Name, Text] = Field(default_factory=dict)


class Throughput(_Part):
    """Speed of one trial: B images an optimizer step, transfer included."""

    images_per_second: Annotated[float, Field(gt=0)]
    step_seconds: Annotated[tuple[Seconds, ...], Field(min_length=1, max_length=1_000_000)]
    data_wait_seconds: Seconds
    warmup_step_seconds: tuple[Seconds, ...] = ()


class Loss(_Part):
    """Mean training loss at the first step and over the last steps of one trial.

    A loss that is not finite is null and ``finite`` is false.
    """

    first: float | None
    last: float | None
    finite: bool
    steps: Annotated[int, Field(ge=1)]

    @property
    def fell(self) -> bool:
        """Whether training moved in the right direction."""
        return self.first is not None and self.last is not None and self.last < self.first


class Conditions(_Part):
    """How the trial was run, beyond the recipe."""

    start_method: str = ""
    threads: int | None = None
    load_average_start: float | None = None
    load_average_end: float | None = None
    host_peak_reset: bool | None = None
    nvml_samples: int | None = None
    wall_seconds: Seconds | None = None


class Trial(_Part):
    """One process that measured one workload once."""

    id: Name
    workload: Name
    method: Name
    schedule: Name
    family: Name
    micro_batch: Annotated[int, Field(ge=1)]
    round: Annotated[int, Field(ge=0)]
    position: Annotated[int, Field(ge=0)]
    attempt: Annotated[int, Field(ge=0)] = 0
    device: Device
    outcome: Outcome
    evidence: Evidence
    memory: Memory = Memory()
    throughput: Throughput | None = None
    loss: Loss | None = None
    energy: None = None
    conditions: Conditions = Conditions()
    message: Text = ""

    @model_validator(mode="after")
    def _ok_means_measured(self) -> Self:
        if self.outcome == "ok" and (self.throughput is None or self.loss is None):
            raise ValueError("a trial with outcome ok must hold throughput and loss")
        return self


class Budget(_Part):
    """The bytes that a process may take; all null on a CPU."""

    requested: str = ""
    card: str | None = None
    total_bytes: Bytes | None = None
    debit_bytes: Bytes | None = None
    limit_bytes: Bytes | None = None
    sources: tuple[Text, ...] = ()


class Machine(_Part):
    """What the audit ran on."""

    platform: Text
    cpu: Text
    cpu_count: Annotated[int, Field(ge=1)]
    ram_bytes: Bytes
    gpu: Text | None = None
    gpu_uuid: Text | None = None
    gpu_total_bytes: Bytes | None = None
    driver: Text | None = None
    versions: dict[Name, Text]
    environment: dict[Name, Text] = Field(default_factory=dict)
    commit: Text | None = None


Fact = str | int | float | bool | None


class GradientProof(_Part):
    """How far a workload's gradients are from its method's full-batch ones.

    ``relative_difference`` is ||g - g_ref|| / ||g_ref|| over all parameters together,
    ``max_relative_difference`` the largest over single parameters, computed in float64 on the
    host at the batch and image size given here.
    """

    reference: Name
    relative_difference: float | None
    max_relative_difference: float | None
    parameter: str = ""
    batch: Annotated[int, Field(ge=1)]
    micro_batch: Annotated[int, Field(ge=1)]
    image_size: Annotated[int, Field(ge=1)]
    tolerance: float
    equal: bool | None
    message: Text = ""


class LedgerRow(_Part):
    """What the harness found one workload to be."""

    facts: dict[Name, Fact] = Field(default_factory=dict)
    gradient: GradientProof | None = None


class Plan(_Part):
    """Which trials make the audit complete."""

    workloads: Annotated[tuple[Name, ...], Field(min_length=1, max_length=10_000)]
    rounds: Annotated[int, Field(ge=1, le=10_000)]
    trial_limit_seconds: float
    run_limit_seconds: float | None = None


Finding = Literal[
    "lower",
    "higher",
    "same",
    "faster",
    "not slower",
    "slower",
    "inconclusive",
    "fits",
    "does not fit",
    "ratio only",
    "not comparable",
]


class Verdict(_Part):
    """One claim, judged on the trials of this record."""

    claim: Name
    challenger: Name
    baseline: str
    metric: Metric
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    finding: Finding
    supported: bool | None
    sentence: Text


class Record(_Part):
    """All trials of one recipe, one budget and one kind of evidence."""

    schema_version: Literal[1] = 1
    created: datetime
    ffprof: str
    command: Text
    recipe: Recipe
    recipe_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    plan: Plan
    budget: Budget = Budget()
    machine: Machine
    evidence: Evidence
    ledger: dict[Name, LedgerRow] = Field(default_factory=dict)
    trials: tuple[Trial, ...] = Field(default=(), max_length=100_000)
    verdicts: tuple[Verdict, ...] = Field(default=(), max_length=10_000)
    notes: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _is_one_audit(self) -> Self:
        if self.recipe.digest() != self.recipe_hash:
            raise ValueError("recipe_hash does not belong to the recipe: the file was edited")
        ids = [trial.id for trial in self.trials]
        if len(set(ids)) != len(ids):
            raise ValueError("two trials have the same id")
        strangers = {t.workload for t in self.trials} - set(self.plan.workloads)
        if strangers:
            raise ValueError(f"trials of workloads that were not planned: {sorted(strangers)}")
        mixed = {t.evidence for t in self.trials} - {self.evidence}
        if mixed:
            raise ValueError(f"evidence {sorted(mixed)} in a record of {self.evidence!r}")
        return self

    def missing(self) -> list[tuple[int, str]]:
        """Planned (round, workload) pairs that have no trial, in order."""
        done = {(trial.round, trial.workload) for trial in self.trials}
        return [
            (number, workload)
            for number in range(self.plan.rounds)
            for workload in self.plan.workloads
            if (number, workload) not in done
        ]
