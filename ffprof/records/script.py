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
    Size,
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


class HeldByModule(Part):
    """What a module itself holds at the peak, without what those inside of it hold.

    ``module`` is its path in the model, such as ``layer1.0.conv1``; empty: no module's.
    """

    module: Text = ""
    by_category: ByCategory

    @property
    def total_bytes(self) -> int:
        """All categories."""
        return sum(self.by_category.values())


class HeldAtPeak(Part):
    """What is held when most is allocated in a steady step, or when memory ran out.

    ``slack_bytes`` is what rounding and unsplit remainders add. ``modules`` is empty where they
    could not be followed, as in compiled models; otherwise their sum is that of ``by_category``,
    unless they are more than 5,000.
    """

    by_category: ByCategory
    lines: Listed[HeldByLine]
    slack_bytes: Bytes
    modules: Listed[HeldByModule] = ()


class ScriptRanOut(Part):
    """The request that memory ran out at, and the line of the user that made it."""

    message: Text
    place: CodeLine
    device: Count = 0
    asked_bytes: Bytes
    allocated_bytes: Bytes
    reserved_bytes: Bytes


class DevicePeak(Part):
    """Peaks of one card, by all ``processes`` that used it; theirs are added.

    They need not have been at the same time, so that the sums are the most that it may have been.
    """

    device: Count
    processes: Count
    allocated_peak_bytes: Bytes | None = None
    reserved_peak_bytes: Bytes | None = None
    cold_allocated_peak_bytes: Bytes
    cold_reserved_peak_bytes: Bytes
    process_range_bytes: tuple[Bytes, Bytes]


class StepCost(Part):
    """What the last step computes, and how long that takes by the roofline: estimated.

    FLOPs count a multiply-add as two: by PyTorch's formulas, and for recurrent layers by their
    weights. ``seconds`` is the time of the card
    that takes longest; null without a profiled card. Between the low and the high one lay
    ``band_coverage`` of public speeds (``ffprof/estimator/roofline.py``). ``paced_by_host``: the
    kernels are so short that the host is likely to set the pace, so that the low one is a floor
    and nothing more is known.
    """

    evidence: Literal["estimated"] = "estimated"
    operators: Count
    flops: Count
    flops_by_operator: Named[Count] = Field(default_factory=dict)
    seconds: Seconds | None = None
    low_seconds: Seconds | None = None
    high_seconds: Seconds | None = None
    band_coverage: float = Field(ge=0, le=1)
    paced_by_host: bool = False


class Coverage(Part):
    """How the device answered: what it does not know, what it assumed, what it did not compute.

    ``share`` is that of calls and launches that are neither unknown nor assumed; with 1.0, nothing
    was. ``modelled`` are sizes by a model whose error is known, those of cuDNN's convolutions.
    """

    share: float = Field(ge=0, le=1)
    unknown: Annotated[dict[Text, Count], Field(max_length=MOST_ITEMS)]
    assumed: Annotated[dict[Text, Count], Field(max_length=MOST_ITEMS)]
    modelled: Annotated[dict[Text, Count], Field(default_factory=dict, max_length=MOST_ITEMS)]
    library_calls: Count
    launches: Count
    device_reads: Count
    device_read_bytes: Bytes


class ScriptEstimate(Part):
    """A script, run on a device that is not there; a figure is null where ``status`` says why.

    ``steps`` are whole rounds of its optimizers. Cold figures are of all that came before the end
    of the first step, the others of later steps. ``process_range_bytes`` adds what the process
    takes beside the allocator. Of several cards or processes, the figures are those of the process
    that did most and held most, on the card that it held most of; ``by_device`` has every card, and
    ``fit`` is that of the worst. ``conditional``: a value that was read from the device may decide
    what the script does. ``runs``: of the command; two where the answer is close.
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
    runs: Size = 1
    card: Label | None
    cards: Count = 1
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
    by_device: Listed[DevicePeak] = ()
    alloc_retries: Count | None = None
    cold_alloc_retries: Count = 0
    oom_events: Count = 0
    went_on: bool = False
    values_read: Count = 0
    reads: Listed[ValueRead] = ()
    conditional: bool = False
    compiled: bool = False
    peak: HeldAtPeak | None = None
    step_cost: StepCost | None = None
    ran_out: ScriptRanOut | None = None
    failed_at: CodeLine | None = None
    coverage: Coverage | None = None
    versions: Named[Text] = Field(default_factory=dict)
    notes: Notes = ()


class ScriptTried(Part):
    """A command with one value in it: the higher of its cold and its later peaks.

    Peaks are null where it did not get through. ``needed_bytes``: memory ran out when so much was
    allocated and asked for, so it takes more. ``message`` and ``place`` say why, where the status
    does not. ``known_share`` is that of ``Coverage``.
    """

    value: Size
    status: Status
    message: Text = ""
    place: CodeLine | None = None
    runs: Size
    seconds: Seconds
    allocated_peak_bytes: Bytes | None = None
    reserved_peak_bytes: Bytes | None = None
    process_range_bytes: tuple[Bytes, Bytes] | None = None
    needed_bytes: Bytes | None = None
    known_share: float | None = Field(default=None, ge=0, le=1)


class ScriptLargest(Part):
    """The largest value in a command that fits; ``command`` has {} where the value stands.

    ``grown`` is what the user calls the value, ``unit`` what it is a multiple of. ``largest`` ran
    and fits, 0 if none did; ``first_failing`` is the smallest larger one that did not, whatever the
    reason. ``proven``: that is the next one, and the reason is memory. ``message`` says what is not
    proven. ``at_largest`` is the estimate there.
    """

    kind: Literal["script largest"] = "script largest"
    evidence: Literal["emulated"] = "emulated"
    engine: Literal["null device"] = "null device"
    command: Listed[Text]
    grown: Label
    unit: Size = 1
    card: Label | None
    device_name: Text
    budget_bytes: Bytes
    overhead_bytes: tuple[Bytes, Bytes, Bytes]
    largest: Count
    first_failing: Size | None = None
    proven: bool
    message: Text = ""
    runs: Count
    seconds: Seconds
    tried: Listed[ScriptTried]
    at_largest: ScriptEstimate | None = None
    notes: Notes = ()


class ScriptGrowth(Part):
    """How the memory of a command grows with a value in it, {} in ``command``.

    A row's ``status`` is about the card; its peaks are without a limit where memory was short.
    Exponents are of the best power law, or null.
    """

    kind: Literal["script growth"] = "script growth"
    evidence: Literal["emulated"] = "emulated"
    engine: Literal["null device"] = "null device"
    command: Listed[Text]
    grown: Label
    card: Label | None
    device_name: Text
    budget_bytes: Bytes
    overhead_bytes: tuple[Bytes, Bytes, Bytes]
    rows: Listed[ScriptTried]
    allocated_exponent: float | None
    reserved_exponent: float | None
    runs: Count
    seconds: Seconds
    notes: Notes = ()
