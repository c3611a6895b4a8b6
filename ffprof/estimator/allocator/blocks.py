"""Blocks of device memory and the two pools of free ones."""

from __future__ import annotations

from bisect import bisect_left, insort

# A free block with what the best fit is chosen by: smallest size, then lowest order, then lowest
# address (BlockComparatorSizeCounterAddress; the stream, first there, is always the same here).
Free = tuple[int, int, int, "Block"]


class Range:
    """The addresses of one expandable segment: reserved once, backed by memory page by page."""

    __slots__ = ("address", "page", "size")

    def __init__(self, address: int, size: int, page: int) -> None:
        self.address = address
        self.size = size
        self.page = page


class Block:
    """A part of a segment: bytes between two addresses, with its neighbours.

    It is what ``allocate`` returns, and is valid until it is freed. ``owner`` is whatever the
    caller gave. A block that is not ``mapped`` is addresses without memory. ``order`` says
    which of two blocks of one size is used first.
    """

    __slots__ = (
        "address", "allocated", "born", "mapped", "next", "order", "owner", "pool", "prev", "range",
        "requested", "size",
    )  # fmt: skip

    def __init__(
        self, pool: Pool, address: int, size: int, order: int, within: Range | None
    ) -> None:
        self.pool = pool
        self.address = address
        self.size = size
        self.order = order
        self.range = within
        self.requested = 0
        self.owner = -1
        self.allocated = False
        self.mapped = True
        self.born = 0
        self.prev: Block | None = None
        self.next: Block | None = None

    @property
    def split(self) -> bool:
        """Whether it is only a part of its segment."""
        return self.prev is not None or self.next is not None

    def put_between(self, before: Block | None, after: Block | None) -> None:
        """Become the neighbour of both."""
        self.prev, self.next = before, after
        if before is not None:
            before.next = self
        if after is not None:
            after.prev = self


class Pool:
    """The free blocks of small or of large requests, and the addresses without memory.

    ``searches`` counts how often a block was looked for, which is the clock of the allocator's
    garbage collection; it stands still unless that is on.
    """

    __slots__ = ("free", "page", "searches", "small", "unmapped")

    def __init__(self, *, small: bool, page: int) -> None:
        self.small = small
        self.page = page
        self.free: list[Free] = []
        self.unmapped: list[tuple[int, Block]] = []
        self.searches = 0

    def insert(self, block: Block) -> None:
        """A free block joins."""
        block.born = self.searches
        insort(self.free, (block.size, block.order, block.address, block))

    def remove(self, block: Block) -> None:
        """A free block leaves; its size and address are still those it joined with."""
        key = (block.size, block.order, block.address)
        del self.free[bisect_left(self.free, key)]

    def insert_unmapped(self, block: Block) -> None:
        """Addresses without memory join."""
        insort(self.unmapped, (block.address, block))

    def remove_unmapped(self, block: Block) -> None:
        """Addresses without memory leave."""
        del self.unmapped[bisect_left(self.unmapped, (block.address,))]

    def merge(self, block: Block, neighbour: Block | None) -> None:
        """Let a block that is in no list take in its neighbour, if that is free and alike."""
        if neighbour is None or neighbour.allocated or neighbour.mapped is not block.mapped:
            return
        if neighbour.mapped:
            self.remove(neighbour)
        else:
            self.remove_unmapped(neighbour)
        if neighbour is block.prev:
            block.address = neighbour.address
            block.put_between(neighbour.prev, block.next)
        else:
            block.put_between(block.prev, neighbour.next)
        block.size += neighbour.size
