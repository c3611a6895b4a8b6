"""What all parts of the allocator work on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ffprof.estimate.allocator.blocks import Pool
from ffprof.estimate.allocator.config import SMALL_SEGMENT_BYTES, AllocatorConfig
from ffprof.estimate.allocator.device import Device

Action = Literal[
    "alloc", "free", "oom", "segment_alloc", "segment_free", "segment_map", "segment_unmap"
]
# Called with what happened, at which address, and how many bytes: those asked for with "alloc"
# and "free", those of the segment or of the part mapped otherwise. With "oom" the address is what
# the device still has, or -1 if nothing limits it, and the bytes are the rounded request.
Observer = Callable[[Action, int, int], None]


class State:
    """Settings, device, pools and who is told."""

    __slots__ = ("collects", "config", "device", "large", "observer", "segments", "small")

    def __init__(
        self, config: AllocatorConfig, device: Device, observer: Observer | None = None
    ) -> None:
        self.config = config
        self.device = device
        self.observer = observer
        self.segments = 0
        self.small = Pool(small=True, page=SMALL_SEGMENT_BYTES)
        self.large = Pool(small=False, page=config.large_segment_bytes)
        # torch collects only if the process has a memory fraction, too.
        self.collects = config.collection_threshold > 0 and device.allowed_bytes is not None

    def next_order(self) -> int:
        """The place of a new segment in the order in which equals are used."""
        self.segments += self.config.oldest_first
        return self.segments

    def tell(self, action: Action, address: int, size: int) -> None:
        """Tell the observer, if there is one."""
        if self.observer is not None:
            self.observer(action, address, size)
