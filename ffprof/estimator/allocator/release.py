"""Giving cached memory back to the device, when it runs short or by age."""

from __future__ import annotations

from bisect import bisect_left

from ffprof.estimator.allocator.blocks import Block, Pool
from ffprof.estimator.allocator.config import UNLIMITED
from ffprof.estimator.allocator.expandable import release_pages
from ffprof.estimator.allocator.state import State


def release_all(state: State) -> None:
    """Give back every segment that is wholly free, and every free page of expandable ones."""
    for pool in (state.large, state.small):
        growing = []
        for *_, block in list(pool.free):
            if block.range is not None:
                growing.append(block)
            elif not block.split:
                _release(state, pool, block)
        for block in growing:
            release_pages(state, block)


def release_unsplittable(state: State, pool: Pool, size: int) -> bool:
    """Give back just enough of the blocks that may not be split; whether that was enough.

    One block that is large enough if there is one, otherwise the largest first
    (release_available_cached_blocks).
    """
    limit = state.config.max_split_bytes
    if limit == UNLIMITED:
        return False
    wanted = max(size, limit)
    at = bisect_left(pool.free, (wanted,))
    if at < len(pool.free):
        block = pool.free[at][3]
        if block.range is None:
            _release(state, pool, block)
        return True
    released = 0
    while at > 0 and released < wanted:
        at -= 1
        length, _, _, block = pool.free[at]
        if length < limit:
            break
        if block.range is None:
            _release(state, pool, block)
            released += length
    return released >= wanted


def collect(state: State) -> None:
    """Give back large segments that have been free for longest, down to the threshold.

    Age counts searches since the block became free; everything at least as old as the mean goes,
    round after round, until enough has gone (garbage_collect_cached_blocks).
    """
    device, pool = state.device, state.large
    assert device.allowed_bytes is not None
    target = device.held_bytes - int(state.config.collection_threshold * device.allowed_bytes)
    if target <= 0:
        return
    whole = [block for *_, block in pool.free if not block.split]
    age = sum(pool.searches - block.born for block in whole)
    reclaimed = 0
    while reclaimed < target and whole:
        mean = age / len(whole)
        kept = []
        count = len(whole)
        for block in whole:
            old = pool.searches - block.born
            if old >= mean:
                reclaimed += block.size
                age -= old
                _release(state, pool, block)
            else:
                kept.append(block)
        whole = kept
        if len(whole) == count:
            return


def _release(state: State, pool: Pool, block: Block) -> None:
    """cudaFree of a whole segment."""
    pool.remove(block)
    state.device.give_back(block.size)
    state.device.drop(block.address, block.size)
    state.tell("segment_free", block.address, block.size)
