"""The record of one trial: what one process found out about one workload and about the GPU.

Part of the record of an audit (``ffprof.records.audit``), whose rules on units and nulls it keeps.
"""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from ffprof.records.base import (
    Bytes,
    Count,
    Label,
    Listed,
    Name,
    Named,
    Part,
    Seconds,
    Size,
    Text,
)

DebitSource = Literal["NVML, this process", "NVML, the only process", "free memory of the device"]


class Debit(Part):
    """What a process takes of the GPU in addition to PyTorch's allocator, and the limit set for it.

    ``context_bytes`` as soon as the context exists, ``step_bytes`` after the first whole optimizer
    step, ``end_bytes`` after the last one. ``counted_bytes`` is what was left out of the budget:
    the larger of what was known of this workload before and what the card's own process is
    estimated to take; ``slack_bytes`` more were kept back. ``exceeded_bytes`` is how far the
    process went beyond the card's memory, by these figures or by NVML's.
    """

    context_bytes: Bytes
    step_bytes: Bytes | None = None
    end_bytes: Bytes | None = None
    source: DebitSource
    counted_bytes: Bytes | None = None
    slack_bytes: Bytes = 0
    limit_bytes: Bytes | None = None  # of the allocator; None: it was not limited
    exceeded_bytes: Bytes = 0


class GpuConditions(Part):
    """What NVML saw of the GPU while a trial ran; of clocks and throttling, in the timed phase.

    ``slowdowns`` are reasons that slow a GPU down, with ``slowed_share`` the part of the samples
    that had one; ``power_capped_share`` had the power limit's, which is usual under full load.
    ``clock_mhz`` is the median of the SM clock, ``default_clock_mhz`` what the card runs at by
    default. ``foreign`` names the processes of others that compute, ``foreign_graphics`` those
    that only draw. ``process_source`` says how the process figure was identified. What the
    driver does not tell is null, its reason in ``unread``.
    """

    samples: Count
    timed_samples: Count = 0
    slowdowns: Listed[Text] = ()
    slowed_share: float | None = None
    power_capped_share: float | None = None
    clock_mhz: float | None = None
    clock_low_mhz: float | None = None
    default_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_celsius: float | None = None  # the highest
    power_watts: float | None = None  # mean of the timed phase
    foreign: Listed[Text] = ()
    foreign_graphics: Listed[Text] = ()
    foreign_peak_bytes: Bytes | None = None
    process_source: DebitSource | None = None
    lost: Text = ""  # how the GPU was lost, if it was
    unread: Named[Text] = Field(default_factory=dict)


class Energy(Part):
    """Energy of the GPU over the timed phase; what it would take idle is in it.

    ``joules`` is the counter's where there is one, else power integrated over time. ``gap`` is
    how far the integral is from the counter, as a share of it. ``idle_watts`` was taken before the
    audit, with nothing on the GPU. The host's energy is not in it.
    """

    joules: Annotated[float, Field(ge=0)]
    images: Size
    seconds: Seconds
    source: Literal["counter", "power"]
    counter_joules: float | None = None
    integrated_joules: float | None = None
    gap: float | None = None
    idle_watts: float | None = None

    @property
    def joules_per_image(self) -> float:
        """Over all timed steps."""
        return self.joules / self.images


__all__ = [
    "Bytes",
    "Conditions",
    "Device",
    "Evidence",
    "Fit",
    "Loss",
    "Memory",
    "Name",
    "Outcome",
    "Part",
    "Seconds",
    "Text",
    "Throughput",
    "Trial",
]

Outcome = Literal["ok", "oom", "timeout", "crashed", "refused"]
Evidence = Literal["measured", "measured (cpu)", "emulated", "estimated"]
Device = Literal["cpu", "cuda"]
Fit = Literal["fits", "too close to call", "does not fit"]


class Memory(Part):
    """Peaks of one trial. Which of them a device can give is in docs/measuring.md.

    These are of estimated trials: whether it fits the budget, the least and most that the
    process takes of the GPU, and what would be reserved with ``expandable_segments``. Retries are
    then those under the budget, while ``reserved_peak_bytes`` is what is reserved without one.
    """

    allocated_peak_bytes: Bytes | None = None
    reserved_peak_bytes: Bytes | None = None
    cold_allocated_peak_bytes: Bytes | None = None
    cold_reserved_peak_bytes: Bytes | None = None
    process_peak_bytes: Bytes | None = None
    device_peak_bytes: Bytes | None = None
    host_peak_bytes: Bytes | None = None
    live_tensor_peak_bytes: Bytes | None = None
    alloc_retries: Count | None = None
    oom_events: Count | None = None
    capped: bool | None = None
    fit: Fit | None = None
    process_range_bytes: tuple[Bytes, Bytes] | None = None
    expandable_reserved_peak_bytes: Bytes | None = None
    breakdown: Named[Bytes] = Field(default_factory=dict)
    unread: Named[Text] = Field(default_factory=dict)


MOST_STEPS = 1_000_000  # of one trial
LISTED_STEPS = 256  # more are stored in one string
_PACKED_BYTES = 4  # float32: a clock that ticks in nanoseconds knows no more of a step
# Of a file, as they are written: a trial and its row of the ledger with all that a GPU adds (twice
# what they take on a processor), and a step that is listed.
_TRIAL_BYTES, _ROW_BYTES, _LISTED_BYTES = 4096, 8192, 28


def audit_bytes(trials: int, rows: int, steps: int, warmup_steps: int) -> float:
    """How large the file of an audit or frontier likely gets, of so many steps a trial."""
    each = _LISTED_BYTES if steps <= LISTED_STEPS else _PACKED_BYTES * 4 / 3
    timed = steps * each + warmup_steps * _LISTED_BYTES
    return trials * (_TRIAL_BYTES + timed) + rows * _ROW_BYTES


def _unpacked(value: object) -> object:
    """Steps as they are in memory: many are rounded to what is stored of them."""
    if isinstance(value, str):
        if len(value) > MOST_STEPS * _PACKED_BYTES * 4 // 3 + 4:
            raise ValueError(f"more than {MOST_STEPS:,} steps")
        try:
            raw = base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(f"no base64: {error}") from error
        if len(raw) % _PACKED_BYTES:
            raise ValueError(f"{len(raw)} bytes are no numbers of {_PACKED_BYTES} bytes")
        return _floats(array("f", raw)).tolist()
    if isinstance(value, list | tuple) and len(value) > LISTED_STEPS:
        try:
            return array("f", value).tolist()
        except (TypeError, OverflowError):
            return value  # it is said what is wrong with it
    return value


def _packed(value: Sequence[float]) -> list[float] | str:
    if len(value) <= LISTED_STEPS:
        return list(value)
    return base64.b64encode(_floats(array("f", value)).tobytes()).decode()


def _floats(values: array[float]) -> array[float]:
    """In the byte order of files, or back."""
    if sys.byteorder == "big":
        values.byteswap()
    return values


# In a file, more than LISTED_STEPS are one string: base64 of float32 in little-endian order.
Steps = Annotated[
    tuple[Seconds, ...],
    Field(min_length=1, max_length=MOST_STEPS),
    BeforeValidator(_unpacked),
    PlainSerializer(_packed, when_used="json"),
]


class Throughput(Part):
    """Speed of one trial: B images an optimizer step, transfer included.

    ``data_wait_seconds`` is null where the step fetches its data itself.
    ``images_per_second_range`` is the band of an estimate.
    """

    images_per_second: Annotated[float, Field(ge=1e-9, le=1e15)]
    step_seconds: Steps
    data_wait_seconds: Seconds | None
    warmup_step_seconds: Listed[Seconds] = ()
    images_per_second_range: tuple[float, float] | None = None


class Loss(Part):
    """Mean training loss at the first step and over the last of ``steps`` steps.

    ``steps`` is the same in all trials of a recipe.

    A loss that is not finite is null and ``finite`` is false.
    """

    first: float | None
    last: float | None
    finite: bool
    steps: Size

    @property
    def fell(self) -> bool:
        """Whether training moved in the right direction."""
        return self.first is not None and self.last is not None and self.last < self.first


class Conditions(Part):
    """How the trial was run, beyond the recipe."""

    start_method: Label = ""
    threads: Count | None = None
    load_average_start: float | None = None
    load_average_end: float | None = None
    host_peak_reset: bool | None = None
    nvml_samples: Count | None = None
    gpu: GpuConditions | None = None
    disturbances: Listed[Text] = ()  # what spoils its figures, in words
    skipped_optimizer_steps: Count | None = None  # fp16: by the GradScaler
    wall_seconds: Seconds | None = None


class Trial(Part):
    """One process that measured one workload once."""

    id: Name
    workload: Name
    method: Name
    schedule: Name
    family: Name
    micro_batch: Size
    round: Count
    position: Count
    attempt: Count = 0
    device: Device
    outcome: Outcome
    evidence: Evidence
    memory: Memory = Memory()
    throughput: Throughput | None = None
    loss: Loss | None = None
    energy: Energy | None = None
    debit: Debit | None = None
    conditions: Conditions = Conditions()
    message: Text = ""

    @model_validator(mode="after")
    def _ok_means_measured(self) -> Self:
        # A loss may be absent: a step of the user's own need not report one.
        # An estimate may know no card to be fast on, and on a null device nothing is computed.
        timed = self.evidence.startswith("measured")
        if self.outcome == "ok" and self.throughput is None and timed:
            raise ValueError("a trial with outcome ok must hold throughput")
        return self


def check_timed(trials: Iterable[Trial]) -> None:
    """Fail if one that ran to its end has no speed.

    Raises:
        ValueError: one has none.
    """
    for trial in trials:
        if trial.outcome == "ok" and trial.throughput is None:
            raise ValueError(f"trial {trial.id} has outcome ok and no throughput")
