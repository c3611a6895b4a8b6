"""Where the memory is that is held and not asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ffprof.estimator.allocator import AllocatorConfig, Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class Fragmentation:
    """Bytes held and not asked for, in four parts.

    ``rounding_bytes``: requests are rounded up. ``unsplit_bytes``: blocks are larger than that,
    because what remained was too small to be split off. These two count as allocated.
    ``stuck_bytes``: free, but in a segment (or a page of an expandable one) that is in use too.
    ``cached_bytes``: free, and could be given back to the device when it runs short.
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
        """Reserved less asked for."""
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
