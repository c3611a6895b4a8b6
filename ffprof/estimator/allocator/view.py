"""What the allocator holds, for people and files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ffprof.estimator.allocator.blocks import Block
from ffprof.estimator.allocator.state import State


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockView:
    """One block. ``unmapped`` is addresses of an expandable segment without memory under them.

    ``requested_bytes`` and ``owner`` (as given to ``allocate``) are those of an active block, 0
    and -1 otherwise.
    """

    address: int
    size_bytes: int
    requested_bytes: int
    state: Literal["active", "inactive", "unmapped"]
    owner: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """What one cudaMalloc gave, or the addresses of one expandable segment, with its blocks.

    The blocks follow each other without gaps. ``page_bytes`` is by how much an expandable segment
    grows, 0 for others.
    """

    address: int
    small: bool
    page_bytes: int
    blocks: tuple[BlockView, ...]

    @property
    def size_bytes(self) -> int:
        """Memory held, addresses without memory left out."""
        return sum(b.size_bytes for b in self.blocks if b.state != "unmapped")

    @property
    def allocated_bytes(self) -> int:
        """In blocks that are in use."""
        return sum(b.size_bytes for b in self.blocks if b.state == "active")

    @property
    def free_bytes(self) -> int:
        """Held, but not in use."""
        return self.size_bytes - self.allocated_bytes

    @property
    def largest_free_bytes(self) -> int:
        """The largest free block, 0 if none."""
        return max((b.size_bytes for b in self.blocks if b.state == "inactive"), default=0)

    @property
    def releasable_bytes(self) -> int:
        """Free bytes that the allocator could return to the device when it runs short.

        The whole segment if nothing in it is in use; the whole pages inside free blocks of an
        expandable one.
        """
        if not self.page_bytes:
            return 0 if self.allocated_bytes else self.size_bytes
        return sum(self._pages_inside(b) for b in self.blocks if b.state == "inactive")

    def _pages_inside(self, block: BlockView) -> int:
        start = block.address - self.address
        first = -(-start // self.page_bytes)
        last = (start + block.size_bytes) // self.page_bytes
        return max(last - first, 0) * self.page_bytes


def view(state: State, active: Iterable[Block]) -> list[Segment]:
    """Every segment, by address."""
    blocks = list(active)
    for pool in (state.small, state.large):
        blocks += [block for *_, block in pool.free]
        blocks += [block for _, block in pool.unmapped]
    heads = sorted((b for b in blocks if b.prev is None), key=lambda b: b.address)
    return [
        Segment(
            address=head.address,
            small=head.pool.small,
            page_bytes=head.range.page if head.range else 0,
            blocks=tuple(_chain(head)),
        )
        for head in heads
    ]


def _chain(head: Block) -> Iterable[BlockView]:
    block: Block | None = head
    while block is not None:
        kind: Literal["active", "inactive", "unmapped"] = "unmapped"
        if block.mapped:
            kind = "active" if block.allocated else "inactive"
        yield BlockView(
            address=block.address,
            size_bytes=block.size,
            requested_bytes=block.requested,
            state=kind,
            owner=block.owner,
        )
        block = block.next
