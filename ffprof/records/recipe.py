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
DataName = Literal[
    "digits", "synthetic", "teacher", "mnist", "fashion-mnist", "kmnist", "svhn", "cifar10",
    "cifar100", "stl10", "tiny-imagenet", "imagenet100", "imagefolder",
]  # fmt: skip
Metric = Literal["memory", "throughput"]
Count = Annotated[int, Field(ge=1, le=1_000_000)]

# The others have any number of classes.
DATA_CLASSES = {
    "digits": 10, "mnist": 10, "fashion-mnist": 10, "kmnist": 10, "svhn": 10, "cifar10": 10,
    "cifar100": 100, "stl10": 10, "tiny-imagenet": 200, "imagenet100": 100,
}  # fmt: skip
# Read from a folder, with loader workers.
FILE_DATA = (*(name for name in DATA_CLASSES if name != "digits"), "imagefolder")

# Fields that came after the first digests were written. At their defaults they stay out of the
# digest, so that the hashes of older records still belong to their recipes.
_LATER_FIELDS = ("data_fingerprint", "data_workers")


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


FAMILY = "family:"  # a claim's baseline may be the best row of a family


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
    """A published figure, printed next to the table as someone else's, never mixed in."""

    label: str = Field(max_length=100)
    source: str = Field(max_length=200)
    memory_text: str = Field(max_length=50)
    images_per_second: float = Field(gt=0)


class Recipe(_Frozen):
    """Backbone, batch, precision, optimizer, data, seed, flags, steps and claims of an audit.

    ``data_root`` is the folder of data that is read from files, ``data_fingerprint`` identifies
    what is in it, and ``data_workers`` processes load it; all three are unset for other data.
    """

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
    data_root: str = Field(default="", max_length=4096)
    data_fingerprint: str = Field(default="", max_length=64)
    data_workers: Annotated[int, Field(ge=0, le=256)] | None = None
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
        known = DATA_CLASSES.get(self.data, self.classes)
        if self.classes != known:
            raise ValueError(f"{self.data} has {known} classes, not {self.classes}")
        if self.data in FILE_DATA and self.channels != 3:
            raise ValueError(f"{self.data} has 3 channels, not {self.channels}")
        return self

    @property
    def updates_per_batch(self) -> int:
        """Micro-batches that make one effective batch under accumulation."""
        return self.batch // self.micro_batch

    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal recipes, and only they, have equal digests.

        Where the data lies on this machine (``data_root``) is left out; what it is
        (``data_fingerprint``) is not.
        """
        fields = type(self).model_fields
        same = {name for name in _LATER_FIELDS if getattr(self, name) == fields[name].default}
        text = self.model_dump_json(exclude={"data_root", *same})
        return hashlib.sha256(text.encode()).hexdigest()
