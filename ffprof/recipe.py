"""The recipe: everything that all workloads of one audit share.

The recipe is what makes an audit fair and repeatable, so it is data: a validated, frozen,
hashable document that knows no method by name. Claims and published reference figures come
with it, because what is to be judged belongs to the audit, not to the instrument.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["fp32", "bf16", "fp16"]
Norm = Literal["batch", "group"]
DataName = Literal["digits", "synthetic"]
Metric = Literal["memory", "throughput"]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Optimizer(_Frozen):
    """What the harness updates the parameters with."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    foreach: bool = True


class Flags(_Frozen):
    """Process-wide switches of PyTorch that change speed, memory or bits."""

    tf32: bool = False
    cudnn_benchmark: bool = True
    deterministic: bool = False
    allocator_conf: str = Field(default="", max_length=500)


class Claim(_Frozen):
    """One statement to be judged: ``challenger`` needs less memory, or is at least as fast.

    ``baseline`` is a workload id, or ``family:NAME`` for the best fitting row of that family
    (for memory the smallest, for throughput the fastest).
    """

    id: str = Field(min_length=1, max_length=100)
    challenger: str = Field(min_length=1, max_length=100)
    baseline: str = Field(min_length=1, max_length=100)
    metric: Metric
    direction: Literal["lower", "at_least"]

    @model_validator(mode="after")
    def _directions_make_sense(self) -> Self:
        wanted = "lower" if self.metric == "memory" else "at_least"
        if self.direction != wanted:
            raise ValueError(f"a claim on {self.metric} has direction {wanted!r}")
        return self


class Reference(_Frozen):
    """A published figure, printed beside the table as somebody else's, never mixed in."""

    label: str = Field(max_length=100)
    source: str = Field(max_length=200)
    memory_text: str = Field(max_length=50)
    images_per_second: float = Field(gt=0)


class Recipe(_Frozen):
    """Backbone, batch, precision, optimizer, data, seed, flags, steps and claims of an audit."""

    preset: str = Field(max_length=100)
    backbone: str = Field(min_length=1, max_length=100)
    width: float = Field(default=1.0, gt=0, le=16)
    norm: Norm = "batch"
    channels: Count = 3
    image_size: Count
    classes: Annotated[int, Field(ge=2, le=1_000_000)]
    batch: Count
    micro_batch: Count
    precision: Precision = "fp32"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    optimizer: Optimizer = Optimizer()
    data: DataName
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threads: Count | None = None
    flags: Flags = Flags()
    warmup_steps: Annotated[int, Field(ge=2, le=1000)] = 3
    steps: Annotated[int, Field(ge=1, le=100_000)] = 30
    min_steps: Annotated[int, Field(ge=1, le=100_000)] = 10
    step_box_seconds: float = Field(default=10.0, gt=0)
    claims: tuple[Claim, ...] = Field(default=(), max_length=1000)
    references: tuple[Reference, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        if self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        if self.data == "digits" and self.classes != 10:
            raise ValueError(f"the digits have 10 classes, not {self.classes}")
        return self

    @property
    def updates_per_batch(self) -> int:
        """Micro-batches that make one effective batch under accumulation."""
        return self.batch // self.micro_batch

    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal recipes, and only they, have equal digests."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
