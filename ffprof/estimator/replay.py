"""A stream of allocations through the simulated allocator: what it peaks at, where, and why.

It also says where the memory is that is held and not requested.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ffprof.errors import UsageError
from ffprof.estimator.allocator import (
    AllocatorConfig,
    Block,
    CachingAllocator,
    OutOfMemoryError,
    Segment,
)
from ffprof.estimator.stream import Stream


@dataclass(frozen=True, kw_only=True, slots=True)
class Fragmentation:
    """Bytes held and not requested, in four parts.

    ``rounding_bytes``: requests are rounded up. ``unsplit_bytes``: blocks are larger than that,
    because what remained was too small to be split off. These two count as allocated.
    ``stuck_bytes``: free, but in a segment (or a page of an expandable one) that is in use too.
    ``cached_bytes``: free, and could be returned to the device when it runs short.
    """

    rounding_bytes: int
    unsplit_bytes: int
    stuck_bytes: int
    cached_bytes: int

    @property
    def gap_bytes(self) -> int:
        """Reserved less allocated, as torch counts them."""
        return self.stuck_bytes + self.cached_bytes

    @property
    def total_bytes(self) -> int:
        """Reserved less requested."""
        return self.rounding_bytes + self.unsplit_bytes + self.gap_bytes


def fragmentation(segments: Iterable[Segment], config: AllocatorConfig) -> Fragmentation:
    """The four parts over all segments."""
    rounding = unsplit = free = cached = 0
    for segment in segments:
        free += segment.free_bytes
        cached += segment.releasable_bytes
        for block in segment.blocks:
            if block.state == "active":
                rounded = config.round(block.requested_bytes)
                rounding += rounded - block.requested_bytes
                unsplit += block.size_bytes - rounded
    return Fragmentation(
        rounding_bytes=rounding,
        unsplit_bytes=unsplit,
        stuck_bytes=free - cached,
        cached_bytes=cached,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryState:
    """What the allocator holds after the event at ``position``; -1 is before all events.

    ``live`` are the numbers of the allocations that are there.
    """

    position: int
    allocated_bytes: int
    reserved_bytes: int
    requested_bytes: int
    live: tuple[int, ...]
    segments: tuple[Segment, ...]
    fragmentation: Fragmentation


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfMemory:
    """Where memory ran out: the event, its allocation, and what was asked and left in bytes.

    ``asked_bytes`` is what the allocator asked of the device for ``request_bytes``.
    """

    position: int
    number: int
    request_bytes: int
    asked_bytes: int
    free_bytes: int
    allocated_bytes: int
    reserved_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """Figures of one replay, in bytes as torch.cuda.memory_stats counts them.

    Peaks are those since the mark, if one was given; positions are of the first event that reaches
    them, that before the mark if the peak is what was there already. ``retries`` are the times that
    everything cached was freed because the device ran short, in all and since the mark. Peaks
    ``before`` are those up to the mark, 0 without one. After
    running out of memory nothing more is replayed; if that is before the mark, peaks are of all.
    """

    allocated_peak_bytes: int
    reserved_peak_bytes: int
    requested_peak_bytes: int
    allocated_end_bytes: int
    reserved_end_bytes: int
    retries: int
    retries_since_mark: int
    out_of_memory: OutOfMemory | None
    at_allocated_peak: MemoryState
    at_reserved_peak: MemoryState
    allocated_peak_before_bytes: int = 0
    reserved_peak_before_bytes: int = 0

    @property
    def fits(self) -> bool:
        """Whether it never ran out of memory."""
        return self.out_of_memory is None

    @property
    def allocated_peak_position(self) -> int:
        """The event that reaches the allocated peak."""
        return self.at_allocated_peak.position


def replay(
    stream: Stream,
    *,
    config: AllocatorConfig | None = None,
    capacity_bytes: int | None = None,
    allowed_bytes: int | None = None,
    include_workspaces: bool = True,
    peak_from: str | None = None,
) -> Replay:
    """What the stream peaks at.

    ``capacity_bytes`` and ``allowed_bytes`` limit it as in ``CachingAllocator``. Without
    workspaces, allocations of that category are left out. ``peak_from`` names the mark from which
    peaks count, the first of that name.

    Raises:
        UsageError: there is no such mark.
    """
    config = config or AllocatorConfig()
    start = 0 if peak_from is None else mark_position(stream, peak_from)

    def allocator() -> CachingAllocator:
        return CachingAllocator(
            capacity_bytes=capacity_bytes, allowed_bytes=allowed_bytes, config=config
        )

    run = Run(stream, allocator(), include_workspaces=include_workspaces)
    run.forward(start)
    before = run.allocator.retries
    early = (run.allocator.allocated_peak_bytes, run.allocator.reserved_peak_bytes)
    if run.out_of_memory is None:
        run.reset_peaks()
        run.forward(len(stream.events))
    states = _states(
        Run(stream, allocator(), include_workspaces=include_workspaces),
        {run.allocated_peak_at, run.reserved_peak_at},
    )
    done = run.allocator
    return Replay(
        allocated_peak_bytes=done.allocated_peak_bytes,
        reserved_peak_bytes=done.reserved_peak_bytes,
        requested_peak_bytes=done.requested_peak_bytes,
        allocated_end_bytes=done.allocated_bytes,
        reserved_end_bytes=done.reserved_bytes,
        retries=done.retries,
        retries_since_mark=done.retries - before,
        out_of_memory=run.out_of_memory,
        at_allocated_peak=states[run.allocated_peak_at],
        at_reserved_peak=states[run.reserved_peak_at],
        allocated_peak_before_bytes=early[0],
        reserved_peak_before_bytes=early[1],
    )


def mark_position(stream: Stream, name: str) -> int:
    """The position of the first mark of that name.

    Raises:
        UsageError: there is none.
    """
    for position, found in stream.marks:
        if found == name:
            return position
    names = ", ".join(dict.fromkeys(found for _, found in stream.marks)) or "none"
    raise UsageError(f"the stream has no mark {name!r}", f"use one of its marks: {names}")


class Run:
    """A replay under way. ``at`` is the position of the event that comes next."""

    def __init__(
        self, stream: Stream, allocator: CachingAllocator, *, include_workspaces: bool
    ) -> None:
        self.stream = stream
        self.allocator = allocator
        self.include_workspaces = include_workspaces
        self.at = 0
        self.allocated_peak_at = -1
        self.reserved_peak_at = -1
        self.out_of_memory: OutOfMemory | None = None
        self._blocks: dict[int, Block | None] = {}
        self._emptied = frozenset(stream.emptied)

    def reset_peaks(self) -> None:
        """Peaks count from here."""
        self.allocator.reset_peaks()
        self.allocated_peak_at = self.reserved_peak_at = self.at - 1

    def forward(self, stop: int) -> None:
        """Replay up to the event at ``stop``, which is left out, or until memory runs out."""
        allocator, blocks = self.allocator, self._blocks
        allocations, events = self.stream.allocations, self.stream.events
        allocated_peak, reserved_peak = (
            allocator.allocated_peak_bytes,
            allocator.reserved_peak_bytes,
        )
        while self.at < stop and self.out_of_memory is None:
            if self.at in self._emptied:
                allocator.empty_cache()
            event = events[self.at]
            if event < 0:
                allocator.free(blocks.pop(~event, None))
                self.at += 1
                continue
            allocation = allocations[event]
            if self.include_workspaces or allocation.category != "workspace":
                try:
                    blocks[event] = allocator.allocate(allocation.nbytes, event)
                except OutOfMemoryError as error:
                    self.out_of_memory = self._ran_out(event, error)
                if allocator.allocated_peak_bytes > allocated_peak:
                    allocated_peak, self.allocated_peak_at = allocator.allocated_peak_bytes, self.at
                if allocator.reserved_peak_bytes > reserved_peak:
                    reserved_peak, self.reserved_peak_at = allocator.reserved_peak_bytes, self.at
            self.at += 1

    def state(self) -> MemoryState:
        """What is held now."""
        segments = tuple(self.allocator.segments())
        live = (b.owner for s in segments for b in s.blocks if b.state == "active")
        return MemoryState(
            position=self.at - 1,
            allocated_bytes=self.allocator.allocated_bytes,
            reserved_bytes=self.allocator.reserved_bytes,
            requested_bytes=self.allocator.requested_bytes,
            live=tuple(sorted(live)),
            segments=segments,
            fragmentation=fragmentation(segments, self.allocator.config),
        )

    def _ran_out(self, number: int, error: OutOfMemoryError) -> OutOfMemory:
        return OutOfMemory(
            position=self.at,
            number=number,
            request_bytes=error.request_bytes,
            asked_bytes=error.asked_bytes,
            free_bytes=error.free_bytes,
            allocated_bytes=self.allocator.allocated_bytes,
            reserved_bytes=self.allocator.reserved_bytes,
        )


def _states(run: Run, positions: Collection[int]) -> dict[int, MemoryState]:
    """The states after some events, from a run of their own: cheaper than keeping every new peak.

    Replaying is deterministic, so it is the same run.
    """
    found = {}
    for position in sorted(positions):
        run.forward(position + 1)
        found[position] = run.state()
    return found
