"""How much a figure may rise before a check fails: by metric, and by workload where it must be.

The allowed rise of a size is the larger of ``bytes`` and ``share`` of the baseline. With ``gate``
false, what became of a figure is told and not judged.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ffprof.compare.statistics import ZONE
from ffprof.errors import UsageError
from ffprof.records.base import Name
from ffprof.units import KIB, MIB, parse_size

LARGEST = 2**63  # a size in bytes is below this, here as in a record


def _size(value: Any) -> Any:
    """Bytes of ``"20MiB"``; 0 needs no unit."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError('write a size with its unit, such as "2MiB", or 0')
    if isinstance(value, int):
        if value:
            raise ValueError('write a size with its unit, such as "2MiB", or 0')
        return 0
    if len(value) > 60:  # no size is; an error would quote all of it
        raise ValueError(f'{value[:57]!r}... is not a memory size; write one such as "2MiB", or 0')
    try:
        size = parse_size(value)
    except UsageError as error:
        raise ValueError(str(error)) from error
    if size >= LARGEST:
        raise ValueError(f"{value!r} is more than any memory")
    return size


def _list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
SpeedShare = Annotated[float, Field(ge=ZONE, lt=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Rise(_Table):
    """How much a figure may rise: the larger of ``bytes`` and ``share`` of what it was."""

    gate: bool = True
    share: Share = 0.0

    def allowed(self, baseline: int) -> int:
        """The rise that is allowed, in the figure's own unit, rounded down."""
        return math.floor(baseline * Fraction(repr(self.share)))


class _SizeRise(Rise):
    bytes: Size = 0

    def allowed(self, baseline: int) -> int:
        """The rise that is allowed, in bytes."""
        return max(self.bytes, super().allowed(baseline))


class Allocated(_SizeRise):
    """Of the allocated peak: it repeats, but shapes of workspaces move it a little."""

    bytes: Size = 2 * MIB
    share: Share = 0.005


class Reserved(_SizeRise):
    """Of the reserved peak: an allocator takes segments of 2 to 20 MiB and more."""

    bytes: Size = 20 * MIB
    share: Share = 0.02


class Live(_SizeRise):
    """Of the peak of live tensors on a processor, which repeats to the byte."""

    bytes: Size = 4 * KIB
    share: Share = 0.005


class Flops(Rise):
    """Of useful and of recomputed floating-point operations of a step."""

    share: Share = 0.005


class Operators(Rise):
    """Of the number of operators of a step."""

    share: Share = 0.02


class SpeedFall(_Table):
    """How far a speed may fall, as a share of what it was; never less than the fixed zone.

    A speed that surely fell by more than ``share`` has regressed. To pass it must not look as if
    it had, and a fall of more than ``exclude`` must be ruled out: to rule out one of ``share``
    takes more rounds than a job has time for, and most runs in which nothing changed would be
    inconclusive. An ``exclude`` that is smaller than ``share`` counts as ``share``.
    """

    gate: bool = True
    share: SpeedShare = ZONE
    exclude: SpeedShare = 0.10


class Throughput(SpeedFall):
    """Of speeds: those relative to ``reference``, and images per second themselves.

    ``reference`` names workloads; by default a speed is relative to the median of all.
    ``absolute`` says whether images per second are judged where the fingerprints of the machines
    match. By default they are on a GPU, whose UUID is part of it: the name of a processor does
    not tell one machine from another.
    """

    reference: Annotated[tuple[Name, ...], BeforeValidator(_list)] = ()
    absolute: bool | None = None


class Budget(_Table):
    """The most that a workload may take, whatever the baseline takes."""

    memory: Annotated[int, BeforeValidator(_size), Field(gt=0)] | None = None


class WorkloadThresholds(_Table):
    """What is different for one workload; only what is written counts."""

    allocated: Allocated = Allocated()
    reserved: Reserved = Reserved()
    live: Live = Live()
    flops: Flops = Flops()
    operators: Operators = Operators()
    throughput: SpeedFall = SpeedFall()
    budget: Budget = Budget()


class Thresholds(_Table):
    """The whole file; every table and every field may be left out."""

    allocated: Allocated = Allocated()
    reserved: Reserved = Reserved()
    live: Live = Live()
    flops: Flops = Flops()
    operators: Operators = Operators()
    throughput: Throughput = Throughput()
    budget: Budget = Budget()
    workloads: Annotated[dict[Name, WorkloadThresholds], Field(max_length=10_000)] = Field(
        default_factory=dict
    )

    def of(self, workload: str) -> WorkloadThresholds:
        """What holds for one workload: its own fields, else those of the whole file."""
        own = self.workloads.get(workload, WorkloadThresholds())
        fall = SpeedFall(
            **{name: getattr(self.throughput, name) for name in SpeedFall.model_fields}
        )
        return WorkloadThresholds(
            allocated=_over(self.allocated, own.allocated),
            reserved=_over(self.reserved, own.reserved),
            live=_over(self.live, own.live),
            flops=_over(self.flops, own.flops),
            operators=_over(self.operators, own.operators),
            throughput=_over(fall, own.throughput),
            budget=_over(self.budget, own.budget),
        )

    def named(self) -> tuple[str, ...]:
        """Workloads that the file names, each of which must exist."""
        return tuple(dict.fromkeys((*self.workloads, *self.throughput.reference)))


_T = TypeVar("_T", bound=_Table)


def _over(base: _T, own: _T) -> _T:
    return base.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
