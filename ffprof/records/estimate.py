"""What ``ffprof estimate`` finds out about a workload, in the record's names; free of torch.

Beside what an estimated trial has, it says what is held at the peak and where. All sizes are
bytes; FLOPs count a multiply-add as two.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ffprof.records.base import Bytes, Label, Listed, Name, Named, Part, Text
from ffprof.records.script import HeldByLine
from ffprof.records.trial import Fit, Memory, Outcome, Throughput

Count = Annotated[int, Field(ge=0)]
LimitedProcess = Named[Bytes]  # by category


class Fragments(Part):
    """Held and not requested: the first two count as allocated, the others as reserved only.

    Requests are rounded up; remainders of blocks are too small to be split off; free blocks are
    stuck in segments that are in use, or cached, and could be freed.
    """

    rounding_bytes: Bytes
    unsplit_bytes: Bytes
    stuck_bytes: Bytes
    cached_bytes: Bytes


class HeldSegment(Part):
    """A segment with free bytes; ``holder`` is the module of its largest block in use."""

    pool: Literal["small", "large"]
    size_bytes: Bytes
    free_bytes: Bytes
    largest_free_bytes: Bytes
    blocks_in_use: Count
    holder: Text


class Layer(Part):
    """What one module holds; ``operator`` names work outside of all modules."""

    module: Text
    operator: Text = ""
    by_category: LimitedProcess

    @property
    def total_bytes(self) -> int:
        """All categories."""
        return sum(self.by_category.values())


class Single(Part):
    """One allocation."""

    nbytes: Bytes
    category: Name
    module: Text
    operator: Text


class ReservedPeak(Part):
    """The moment at which most is reserved, the first time, in a steady step.

    ``segments`` are those with most free bytes, of ``segment_count``. ``slack_bytes`` is what
    rounding and unsplit remainders add to what is requested.
    """

    phase: Name
    module: Text
    operator: Text
    allocated_bytes: Bytes
    reserved_bytes: Bytes
    slack_bytes: Bytes
    fragments: Fragments
    segment_count: Count
    segments: Listed[HeldSegment]


class Peak(Part):
    """The moment at which most is allocated in a steady step.

    ``phase``, ``module`` and ``operator`` are those of the request that reached it.
    ``slack_bytes`` is what rounding and unsplit remainders add to the sums by category.
    ``at_reserved`` is another moment, or the same. ``by_phase`` says in which phase it was
    requested, ``lines`` by which lines of the user's code, those that hold most first.
    """

    phase: Name
    module: Text
    operator: Text
    allocated_bytes: Bytes
    reserved_bytes: Bytes
    slack_bytes: Bytes
    by_category: LimitedProcess
    layers: Listed[Layer]
    largest: Listed[Single]
    at_reserved: ReservedPeak
    by_phase: LimitedProcess = Field(default_factory=dict)
    lines: Listed[HeldByLine] = ()


class RanOut(Part):
    """Where memory runs out under the budget, and what was requested there."""

    phase: Name
    module: Text
    operator: Text
    asked_bytes: Bytes
    allocated_bytes: Bytes
    free_bytes: Bytes


class FitDetails(Part):
    """How the answer was found: ``capacity_bytes`` is what the budget likely leaves."""

    answer: Fit
    margin_above: float
    margin_below: float
    budget_bytes: Bytes
    capacity_bytes: Bytes
    retries: Count
    ran_out: RanOut | None = None


class PeakRow(Part):
    """One workload, estimated for one card. A figure is null where ``outcome`` says why.

    ``activation_peak_bytes`` is the most that forward and backward hold at once in a steady step
    in addition to parameters, gradients and data: activations and temporaries.
    """

    workload: Name
    method: Name
    schedule: Name
    family: Name
    batch: Count
    micro_batch: Count
    image_size: Count
    backbone: Name
    evidence: Literal["estimated"] = "estimated"
    outcome: Outcome
    message: Text = ""
    card: Label | None
    budget_bytes: Bytes
    overhead_bytes: tuple[Bytes, Bytes, Bytes]
    allocator_conf: Text = ""
    workspaces: bool = True
    memory: Memory | None = None
    throughput: Throughput | None = None
    fit: FitDetails | None = None
    peak: Peak | None = None
    activation_peak_bytes: Bytes | None = None
    flops_by_operator: Named[Count] = Field(default_factory=dict)
    useful_flops: Count | None = None
    recomputed_flops: Count | None = None


class Growth(Part):
    """How a workload grows with ``axis``; exponents are of the best power law, or null.

    ``axis``: batch, depth, image-size, or an argument of a step of the user's own.
    """

    workload: Name
    axis: Name
    values: Listed[int]
    rows: Listed[PeakRow]
    allocated_exponent: float | None
    reserved_exponent: float | None
    activations_exponent: float | None


class Difference(Part):
    """What one layer holds of one category at both peaks, each of its own step."""

    module: Text
    operator: Text
    category: Name
    ours_bytes: Bytes
    theirs_bytes: Bytes

    @property
    def more_bytes(self) -> int:
        """What ours holds beyond theirs; negative if less."""
        return self.ours_bytes - self.theirs_bytes


class Against(Part):
    """Two workloads at their peaks, and where they differ, in the order of the layers."""

    ours: PeakRow
    theirs: PeakRow
    differences: Listed[Difference]


Effect = Literal["same", "rounding", "method"]


class AdviceLine(Part):
    """One change of a step, or several together, and what the step takes with it.

    ``code`` makes it by hand. ``effect``: ``same`` gives the same gradients up to the order of
    sums, ``rounding`` computes in a shorter format, ``method`` trains otherwise. ``step_seconds``
    are a roofline's on the card; null without a card. ``sure`` is false where the effect depends on
    what cannot be seen, as the note says. ``failed`` is why it could not be tried. Peaks are of a
    steady step, the cold one of those before it.
    """

    ids: Listed[Name]
    title: Text
    effect: Effect
    code: Text = ""
    note: Text = ""
    evidence: Literal["estimated"] = "estimated"
    allocated_peak_bytes: Bytes | None = None
    reserved_peak_bytes: Bytes | None = None
    cold_reserved_peak_bytes: Bytes | None = None
    fit: Fit | None = None
    step_seconds: float | None = None
    sure: bool = True
    failed: Text = ""

    @property
    def id(self) -> str:
        """What ``--show`` takes."""
        return "+".join(self.ids)


class Advice(Part):
    """A step as it is, and with every change that was tried on it, the best first."""

    workload: Name
    card: Label | None
    budget_bytes: Bytes
    base: AdviceLine
    lines: Listed[AdviceLine]

    @property
    def fits(self) -> bool:
        """Whether the step fits as it is."""
        return self.base.fit == "fits"

    def saved_bytes(self, line: AdviceLine) -> int:
        """Of what is reserved; negative if a change takes more."""
        return (self.base.reserved_peak_bytes or 0) - (line.reserved_peak_bytes or 0)

    def slower(self, line: AdviceLine) -> float | None:
        """How many times as long a step takes; None where times are not known."""
        if not self.base.step_seconds or line.step_seconds is None:
            return None
        return line.step_seconds / self.base.step_seconds

    def helps(self, line: AdviceLine) -> bool:
        """Whether it saves a hundredth of what is reserved, or makes a step fit that did not."""
        if line.failed:
            return False
        enough = self.saved_bytes(line) >= 0.01 * (self.base.reserved_peak_bytes or 0)
        return enough or (line.fit == "fits" and not self.fits)
