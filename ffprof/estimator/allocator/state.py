"""What all parts of the allocator work on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ffprof.estimator.allocator.blocks import Block, Pool
from ffprof.estimator.allocator.config import SMALL_SEGMENT_BYTES, AllocatorConfig
from ffprof.estimator.allocator.device import Device

Action = Literal[
    "alloc", "free", "oom", "segment_alloc", "segment_free", "segment_map", "segment_unmap"
]
# Called with what happened, at which address, and how many bytes: those requested with "alloc"
# and "free", those of the segment or of the part mapped otherwise. With "oom" the address is what
# the device still has, or -1 if nothing limits it, and the bytes are the rounded request.
Observer = Callable[[Action, int, int], None]


class State:
    """Settings, device, pools and who is notified."""

    __slots__ = ("collects", "config", "device", "large", "made", "observer", "small")

    def __init__(
        self, config: AllocatorConfig, device: Device, observer: Observer | None = None
    ) -> None:
        self.config = config
        self.device = device
        self.observer = observer
        self.made = 0
        self.small = Pool(small=True, page=SMALL_SEGMENT_BYTES)
        self.large = Pool(small=False, page=config.large_segment_bytes)
        # torch collects only if the process has a memory fraction, too.
        self.collects = config.collection_threshold > 0 and device.allowed_bytes is not None

    def order(self, parent: Block | None = None) -> int:
        """The place of a new block, or of a part of one, in the order in which equals are used."""
        ties = self.config.ties
        if ties == "address":
            return 0
        if parent is not None and ties == "segment":
            return parent.order
        self.made += 1
        return self.made

    def tell(self, action: Action, address: int, size: int) -> None:
        """Tell the observer, if there is one."""
        if self.observer is not None:
            self.observer(action, address, size)
