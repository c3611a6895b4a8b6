"""What ``ffprof estimate -- COMMAND`` finds out about a script of the user; free of torch.

All sizes are bytes. Figures are those of PyTorch's own allocator on a device that is not there
(docs/estimate_script.md): emulated, not measured on a GPU.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ffprof.records.base import (
    MOST_ITEMS,
    Bytes,
    Count,
    Label,
    Listed,
    Named,
    Notes,
    Part,
    Seconds,
    Text,
)
from ffprof.records.trial import Fit

Status = Literal["fits", "too close to call", "out of memory", "failed", "incomplete"]
Path = Annotated[str, Field(max_length=4096)]
ByCategory = Named[Bytes]


class CodeLine(Part):
    """A line of the user's code; empty where it is not known."""

    file: Path = ""
    line: Count = 0
    function: Text = ""
    text: Text = ""


class ValueRead(Part):
    """Values that one line read from the device, which are not those of a real run.

    ``library`` is the file of a library that read them in the line's stead. ``decides_sizes``: the
    size of a tensor depends on them.
    """

    what: Text
    count: Count
    place: CodeLine
    library: Text = ""
    decides_sizes: bool = False


class HeldByLine(Part):
    """What one line allocated and what is held at the peak."""

    place: CodeLine
    by_category: ByCategory

    @property
    def total_bytes(self) -> int:
        """All categories."""
        return sum(self.by_category.values())


class HeldAtPeak(Part):
    """What is held when most is allocated in a steady step, or when memory ran out.

    ``slack_bytes`` is what rounding and unsplit remainders add.
    """

    by_category: ByCategory
    lines: Listed[HeldByLine]
    slack_bytes: Bytes


class ScriptRanOut(Part):
    """The request that memory ran out at, and the line of the user that made it."""

    message: Text
    place: CodeLine
    asked_bytes: Bytes
    allocated_bytes: Bytes
    reserved_bytes: Bytes


class Coverage(Part):
    """How the device answered: what it does not know, what it assumed, what it did not compute.

    ``share`` is that of calls and launches that are neither unknown nor assumed; with 1.0, nothing
    was. ``modelled`` are sizes by a model whose error is known, those of cuDNN's convolutions.
    """

    share: float = Field(ge=0, le=1)
    unknown: Annotated[dict[Text, Count], Field(max_length=MOST_ITEMS)]
    assumed: Annotated[dict[Text, Count], Field(max_length=MOST_ITEMS)]
    modelled: Annotated[dict[Text, Count], Field(max_length=MOST_ITEMS)]
    library_calls: Count
    launches: Count
    device_reads: Count
    device_read_bytes: Bytes


class ScriptEstimate(Part):
    """A script, run on a device that is not there; a figure is null where ``status`` says why.

    ``steps`` are whole rounds of its optimizers. Cold figures are of all that came before the end
    of the first step, the others of later steps. ``process_range_bytes`` adds what the process
    takes beside the allocator. ``conditional``: a value that was read from the device may decide
    what the script does.
    """

    kind: Literal["script"] = "script"
    evidence: Literal["emulated"] = "emulated"
    engine: Literal["null device"] = "null device"
    command: Listed[Text]
    status: Status
    message: Text = ""
    fit: Fit | None = None
    steps: Count
    steps_requested: Count
    processes: Count
    seconds: Seconds
    card: Label | None
    device_name: Text
    budget_bytes: Bytes
    capacity_bytes: Bytes
    overhead_bytes: tuple[Bytes, Bytes, Bytes]
    allocator_conf: Text = ""
    allocated_peak_bytes: Bytes | None = None
    reserved_peak_bytes: Bytes | None = None
    cold_allocated_peak_bytes: Bytes | None = None
    cold_reserved_peak_bytes: Bytes | None = None
    process_range_bytes: tuple[Bytes, Bytes] | None = None
    alloc_retries: Count | None = None
    oom_events: Count = 0
    values_read: Count = 0
    reads: Listed[ValueRead] = ()
    conditional: bool = False
    compiled: bool = False
    peak: HeldAtPeak | None = None
    ran_out: ScriptRanOut | None = None
    failed_at: CodeLine | None = None
    coverage: Coverage | None = None
    versions: Named[Text] = Field(default_factory=dict)
    notes: Notes = ()
