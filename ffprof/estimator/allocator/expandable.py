"""Expandable segments: addresses reserved once, memory put under them page by page.

The algorithm is that of find_expandable_block, try_allocate_expandable_block, map_block and
unmap_block in c10/cuda/CUDACachingAllocator.cpp: memory is added at the lowest address where free
and unmapped neighbours make enough room; only whole pages (2 MiB for small requests, 20 MiB for
large ones) are mapped and unmapped.
"""

from __future__ import annotations

from ffprof.estimator.allocator.blocks import Block, Pool, Range
from ffprof.estimator.allocator.state import State


def grow(state: State, pool: Pool, size: int) -> Block | None:
    """A block of ``size`` bytes or more that is in no list, or None if the device has no more.

    Pages mapped before the device gave out stay mapped, as free blocks.
    """
    block = _room(state, pool, size)
    if not block.mapped and not _map(state, block, min(block.size, size)):
        return None
    while block.size < size:
        # A free block before addresses without memory: fill those in, and the two become one.
        after = block.next
        assert after is not None
        if not _map(state, after, min(size - block.size, after.size)):
            return None
        block = after
    pool.remove(block)
    return block


def release_pages(state: State, block: Block) -> None:
    """Unmap the whole pages inside a free block; the edges stay free blocks.

    A segment of which no page is left is given up.
    """
    pool, within = block.pool, block.range
    assert within is not None
    page, origin = within.page, within.address
    start = origin + -(-(block.address - origin) // page) * page
    end = origin + (block.address + block.size - origin) // page * page
    if start >= end:
        return
    pool.remove(block)
    if start > block.address:
        edge = Block(pool, block.address, start - block.address, state.order(block), within)
        edge.put_between(block.prev, block)
        pool.insert(edge)
    if end < block.address + block.size:
        edge = Block(pool, end, block.address + block.size - end, state.order(block), within)
        edge.put_between(block, block.next)
        pool.insert(edge)
    block.address, block.size, block.mapped = start, end - start, False
    pool.merge(block, block.prev)
    pool.merge(block, block.next)
    state.device.give_back(end - start)
    state.tell("segment_unmap", start, end - start)
    if block.split:
        pool.insert_unmapped(block)
    else:
        state.device.drop(within.address, within.size)


def _room(state: State, pool: Pool, size: int) -> Block:
    """The lowest run of free and unmapped blocks with ``size`` addresses, by its first block."""
    for _, unmapped in pool.unmapped:
        before = unmapped.prev
        first = before if before is not None and not before.allocated else unmapped
        room, block = 0, first
        while room < size and not block.allocated:
            room += block.size
            if block.next is None:
                break
            block = block.next
        if room >= size:
            return first
    # A card gives out before its addresses do; without a limit there must be enough of them.
    length = -(-max(state.device.range_bytes, size) // pool.page) * pool.page
    within = Range(state.device.reserve(length), length, pool.page)
    first = Block(pool, within.address, within.size, state.order(), within)
    first.mapped = False
    pool.insert_unmapped(first)
    return first


def _map(state: State, block: Block, size: int) -> bool:
    """Put memory under the first ``size`` bytes, in whole pages; False if there is none."""
    pool, within = block.pool, block.range
    assert within is not None and not block.mapped
    mapped = -(-size // within.page) * within.page
    if not state.device.take(mapped):
        return False
    address = block.address
    pool.remove_unmapped(block)
    block.mapped = True
    if mapped < block.size:
        rest = Block(pool, address + mapped, block.size - mapped, state.order(block), within)
        rest.mapped = False
        rest.put_between(block, block.next)
        pool.insert_unmapped(rest)
        block.size = mapped
    pool.merge(block, block.prev)
    pool.merge(block, block.next)
    pool.insert(block)
    state.tell("segment_map", address, mapped)
    return True
