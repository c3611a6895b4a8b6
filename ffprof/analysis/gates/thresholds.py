"""How much a figure may rise before a check fails: by metric, and by workload where it must be.

The allowed rise of a size is the larger of ``bytes`` and ``share`` of the baseline. With ``gate``
false, a change of the figure is reported and not gated. ``--thresholds FILE`` is TOML, read with
suspicion.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ffprof.analysis.statistics.intervals import ZONE
from ffprof.errors import UsageError, did_you_mean, one_line
from ffprof.records.base import Name
from ffprof.records.files import foreign_content
from ffprof.records.store import first_problem
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


class Thresholds(WorkloadThresholds):
    """The whole file; every table and every field may be left out."""

    workloads: Annotated[dict[Name, WorkloadThresholds], Field(max_length=10_000)] = Field(
        default_factory=dict
    )

    def of(self, workload: str) -> WorkloadThresholds:
        """What holds for one workload: its own fields, else those of the whole file."""
        own = self.workloads.get(workload, WorkloadThresholds())
        return WorkloadThresholds(
            allocated=_over(self.allocated, own.allocated),
            reserved=_over(self.reserved, own.reserved),
            live=_over(self.live, own.live),
            flops=_over(self.flops, own.flops),
            operators=_over(self.operators, own.operators),
            throughput=_over(self.throughput, own.throughput),
            budget=_over(self.budget, own.budget),
        )


_T = TypeVar("_T", bound=_Table)


def _over(base: _T, own: _T) -> _T:
    return base.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


MAX_BYTES = 64 * 1024
# The time that Python's parser takes for a dotted key grows with the square of its parts.
MAX_DOTS = 500
_FIX = "docs/checking.md shows such a file in full"
_SHARES = ("share", "exclude")
_REMOVED: dict[tuple[int | str, ...], str] = {
    ("throughput", "reference"): "is gone, because a speed is relative to the median of all rows: "
    "leave it out",
    ("throughput", "absolute"): "is gone, because images per second are judged where both results "
    "are of one GPU, and nowhere else: leave it out, or use gate = false",
}
_NO_SHARE = ("less_than_equal", "less_than", "float_type")


def read_thresholds(path: Path) -> Thresholds:
    """The thresholds in a file.

    Raises:
        UsageError: it cannot be read, is no TOML, or says something that cannot be meant.
    """
    name = str(path)[:200]
    fix = "name a TOML file with --thresholds"
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{name} is not a file", fix)
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}", fix) from error
    return parse_thresholds(raw, name)


def parse_thresholds(raw: bytes, name: str) -> Thresholds:
    """The thresholds that the content of a file holds; ``name`` is what errors call the file.

    Raises:
        UsageError: they are no thresholds.
    """
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{name} is larger than thresholds can be", _FIX)
    if any(line.count(b".") > MAX_DOTS for line in raw.splitlines()):
        raise UsageError(f"{name} has a line with more than {MAX_DOTS} dots", _FIX)
    if (found := foreign_content(raw)) is not None and raw.strip():
        raise UsageError(f"{name} {found[0]}", found[1])
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8, as TOML must be", _FIX) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not TOML: {str(error)[:200]}", _FIX) from error
    try:
        return Thresholds.model_validate(document)
    except ValidationError as error:
        raise UsageError(f"{name}: {_first(error)}", _FIX) from error


def with_budget(thresholds: Thresholds, budget: str | None) -> Thresholds:
    """With the budget of the command line instead of that of all workloads.

    Raises:
        UsageError: it is no size.
    """
    if budget is None:
        return thresholds
    parse_size(budget)
    try:
        found = Budget.model_validate({"memory": budget})
    except ValidationError as error:
        problem = f"--budget: {first_problem(error)}"
        raise UsageError(problem, "give the size of a GPU's memory, such as 7.5GiB") from error
    return thresholds.model_copy(update={"budget": found})


def require_known(thresholds: Thresholds, known: Iterable[str], name: str) -> None:
    """Refuse names that would silently hold for nothing.

    Raises:
        UsageError: a workload is named that is in no record.
    """
    names = tuple(dict.fromkeys(known))
    for one in thresholds.workloads:
        if one not in names:
            raise UsageError(
                f"{name} names a workload {one!r} that is in neither result",
                f"name one of {one_line(', '.join(names))[:500]}",
            )


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, with the field's full name."""
    first = error.errors(include_url=False)[0]
    field = ".".join(one_line(str(part))[:100] for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if first["type"] == "extra_forbidden":
        said = _REMOVED.get(first["loc"], f"is no field of thresholds: {_instead(first['loc'])}")
    elif isinstance(first["input"], int) and abs(first["input"]) >= LARGEST:
        said = f"{said}, not a number of so many digits"  # 4300 of them are not even printed
    elif isinstance(first["input"], str | int | float):
        said = f"{said}, not {str(first['input'])[:60]!r}" if "not " not in said else said
    if first["loc"][-1] in _SHARES and first["type"] in _NO_SHARE:
        said += " (a share of the baseline: 0.05 is 5 %)"
    return f"{field}: {said}"


def _instead(path: Sequence[int | str]) -> str:
    """The field that may be meant by the last of a path, or all that are there."""
    here: Thresholds | WorkloadThresholds = Thresholds()
    above = path[:-1]
    if above[:1] == ("workloads",):
        here, above = WorkloadThresholds(), above[2:]
    known = type(getattr(here, str(above[0])) if above else here).model_fields
    return did_you_mean(str(path[-1]), known).strip() or f"there are {', '.join(known)}"
