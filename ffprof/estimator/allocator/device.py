"""The device below the allocator: how many bytes it gives, and at which addresses."""

from __future__ import annotations

from bisect import insort

from ffprof.units import GIB, MIB

# cudaMalloc of a page or more starts on a page, and pages are 2 MiB since Pascal
# (github.com/pytorch/pytorch/pull/17120).
PAGE_BYTES = 2 * MIB
# Where Linux drivers start differs from run to run; only the order of addresses matters here.
FIRST_ADDRESS = 0x7F0000000000
# An expandable segment reserves nine eighths of the card's memory in addresses, which cost nothing
# (ExpandableSegment). This is the card where none is reported.
ASSUMED_CARD_BYTES = 80 * GIB


class Device:
    """Bytes and addresses.

    ``capacity_bytes`` is what the device can give in total, ``allowed_bytes`` what the process has
    been allowed by ``set_per_process_memory_fraction``; ``range_bytes`` is how many addresses an
    expandable segment reserves, before rounding to its pages. Addresses are handed out first fit:
    the lowest hole that is large enough, else above everything. That is reconstructed: drivers do
    not document it. It decides only between free blocks of equal size, and only in releases that go
    by address.
    """

    __slots__ = (
        "allowed_bytes", "capacity_bytes", "held_bytes", "holes", "peak_bytes", "range_bytes",
        "top",
    )  # fmt: skip

    def __init__(
        self, capacity_bytes: int | None, allowed_bytes: int | None, card_bytes: int | None = None
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.allowed_bytes = allowed_bytes
        card = card_bytes or capacity_bytes or ASSUMED_CARD_BYTES
        self.range_bytes = card + card // 8
        self.held_bytes = 0
        self.peak_bytes = 0
        self.top = FIRST_ADDRESS
        self.holes: list[tuple[int, int]] = []

    @property
    def free_bytes(self) -> int | None:
        """What can still be taken, or None where nothing limits it."""
        limits = [n for n in (self.capacity_bytes, self.allowed_bytes) if n is not None]
        return max(min(limits) - self.held_bytes, 0) if limits else None

    def allows(self, size: int) -> bool:
        """Whether the process may take ``size`` more, which torch asks before it tries."""
        return self.allowed_bytes is None or self.held_bytes + size <= self.allowed_bytes

    def take(self, size: int) -> bool:
        """Count ``size`` bytes as held; False if the device has not got them."""
        if self.capacity_bytes is not None and self.held_bytes + size > self.capacity_bytes:
            return False
        self.held_bytes += size
        if self.held_bytes > self.peak_bytes:
            self.peak_bytes = self.held_bytes
        return True

    def give_back(self, size: int) -> None:
        """Count ``size`` bytes as no longer held."""
        self.held_bytes -= size

    def reserve(self, size: int) -> int:
        """The address of ``size`` free addresses."""
        size = _pages(size)
        for at, (address, length) in enumerate(self.holes):
            if length >= size:
                if length == size:
                    del self.holes[at]
                else:
                    self.holes[at] = (address + size, length - size)
                return address
        address, self.top = self.top, self.top + size
        return address

    def drop(self, address: int, size: int) -> None:
        """Let addresses be used again; holes side by side become one."""
        insort(self.holes, (address, _pages(size)))
        merged: list[tuple[int, int]] = []
        for start, length in self.holes:
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((start, length))
        if merged and merged[-1][0] + merged[-1][1] == self.top:
            self.top = merged.pop()[0]
        self.holes = merged


def _pages(size: int) -> int:
    return -(-size // PAGE_BYTES) * PAGE_BYTES
