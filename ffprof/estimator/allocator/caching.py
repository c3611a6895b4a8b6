"""The caching allocator: what PyTorch does with requests for device memory, on one stream.

Written after c10/cuda/CUDACachingAllocator.cpp, whose names are given where a rule comes from, and
checked against the allocators of torch 2.11.0, 2.12.1 and 2.14.1, event by event
(tests/unit/estimator/test_allocator_torch.py). Left out is what needs more than one stream, CUDA
graphs or memory pools.
"""

from __future__ import annotations

from bisect import bisect_left

from ffprof.errors import FfprofError, UsageError
from ffprof.estimator.allocator.blocks import Block, Pool
from ffprof.estimator.allocator.config import MIN_BLOCK_BYTES, SMALL_BYTES, AllocatorConfig
from ffprof.estimator.allocator.device import Device
from ffprof.estimator.allocator.expandable import grow
from ffprof.estimator.allocator.release import collect, release_all, release_unsplittable
from ffprof.estimator.allocator.state import Observer, State
from ffprof.estimator.allocator.view import Segment, view
from ffprof.units import format_bytes


class OutOfMemoryError(FfprofError):
    """The simulated device cannot give what is asked, whatever is released.

    ``request_bytes`` is what the program requested and ``asked_bytes`` what the allocator then
    asked of the device, the figure in torch's own message; ``free_bytes`` is what it had left.
    """

    def __init__(self, request_bytes: int, asked_bytes: int, free_bytes: int) -> None:
        self.request_bytes = request_bytes
        self.asked_bytes = asked_bytes
        self.free_bytes = free_bytes
        super().__init__(
            f"out of memory: {format_bytes(asked_bytes)} requested, "
            f"{format_bytes(free_bytes)} left",
            "lower the batch or the micro-batch, or raise the budget",
        )


class CachingAllocator:
    """Simulates allocations and frees; every operation costs O(log n) of the free blocks.

    ``capacity_bytes`` is what the device can give in total: with it, reserved never exceeds it.
    ``allowed_bytes`` is the cap of ``torch.cuda.set_per_process_memory_fraction``, which torch
    compares with reserved plus the segment that it would take by default. With default segments
    the two are the same. With expandable ones the cap can be overshot by less than a page, and
    can refuse what the device could have given, because the check is made as if they were not
    expandable. None is no limit. ``card_bytes`` is all the memory of the card, by default the
    capacity: it says how many addresses an expandable segment has, which matters only to one that
    has run out of memory often.
    """

    def __init__(
        self,
        *,
        capacity_bytes: int | None = None,
        allowed_bytes: int | None = None,
        card_bytes: int | None = None,
        config: AllocatorConfig | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.config = config or AllocatorConfig()
        self._device = Device(capacity_bytes, allowed_bytes, card_bytes)
        self._state = State(self.config, self._device, observer)
        self._small, self._large = self._state.small, self._state.large
        self._plain = not any(self.config.divisions)
        self._expandable = self.config.expandable_segments
        self._active: set[Block] = set()
        self.allocated_bytes = 0
        self.allocated_peak_bytes = 0
        self.requested_bytes = 0
        self.requested_peak_bytes = 0
        self.retries = 0
        self.ooms = 0

    @property
    def reserved_bytes(self) -> int:
        """Held from the device, in use or cached."""
        return self._device.held_bytes

    @property
    def reserved_peak_bytes(self) -> int:
        """The most that was held at any moment since the peaks were reset."""
        return self._device.peak_bytes

    def reset_peaks(self) -> None:
        """Peaks start again from what is there now."""
        self.allocated_peak_bytes = self.allocated_bytes
        self.requested_peak_bytes = self.requested_bytes
        self._device.peak_bytes = self._device.held_bytes

    def allocate(self, nbytes: int, owner: int = -1) -> Block | None:
        """The block that a request for ``nbytes`` gets; none for a request for nothing.

        Raises:
            OutOfMemoryError: not even after everything cached was freed.
        """
        if nbytes <= 0:
            if nbytes < 0:
                raise UsageError(f"{nbytes} bytes cannot be allocated", "ask for 0 or more")
            return None
        size = -(-nbytes // MIN_BLOCK_BYTES) * MIN_BLOCK_BYTES
        if not self._plain:
            size = self.config.round(nbytes)
        pool = self._small if size <= SMALL_BYTES else self._large
        block = self._find(pool, size) or self._take(pool, size, nbytes)
        rest = block.size - size
        if rest and self._splits(pool, size, rest):
            # The front is handed out; what remains stays the same block, shrunk.
            front = Block(pool, block.address, size, self._state.order(block), block.range)
            front.put_between(block.prev, block)
            block.address += size
            block.size = rest
            pool.insert(block)
            block = front
        block.allocated = True
        block.requested = nbytes
        block.owner = owner
        self._active.add(block)
        self.allocated_bytes += block.size
        if self.allocated_bytes > self.allocated_peak_bytes:
            self.allocated_peak_bytes = self.allocated_bytes
        self.requested_bytes += nbytes
        if self.requested_bytes > self.requested_peak_bytes:
            self.requested_peak_bytes = self.requested_bytes
        if self._state.observer is not None:
            self._state.observer("alloc", block.address, nbytes)
        return block

    def free(self, block: Block | None) -> None:
        """Give a block back to the cache, where it merges with free neighbours (free_block).

        Raises:
            UsageError: it is not allocated.
        """
        if block is None:
            return
        if not block.allocated:
            raise UsageError("a block is freed that is not allocated", "free each block once")
        if self._state.observer is not None:
            self._state.observer("free", block.address, block.requested)
        self._active.remove(block)
        self.allocated_bytes -= block.size
        self.requested_bytes -= block.requested
        block.allocated = False
        block.requested = 0
        block.owner = -1
        pool = block.pool
        if block.prev is not None:
            pool.merge(block, block.prev)
        if block.next is not None:
            pool.merge(block, block.next)
        pool.insert(block)

    def empty_cache(self) -> None:
        """Give back all that is cached and free, as ``torch.cuda.empty_cache`` does."""
        release_all(self._state)

    def segments(self) -> list[Segment]:
        """All segments with their blocks, by address."""
        return view(self._state, self._active)

    def _splits(self, pool: Pool, size: int, rest: int) -> bool:
        """should_split."""
        if pool.small or self._expandable:
            return rest >= MIN_BLOCK_BYTES
        return size < self.config.max_split_bytes and rest > SMALL_BYTES

    def _find(self, pool: Pool, size: int) -> Block | None:
        """The best fit among the free blocks, taken out of them (get_free_block)."""
        if self._state.collects:
            pool.searches += 1
        free = pool.free
        at = bisect_left(free, (size,))
        if at == len(free):
            return None
        if self._expandable:
            # A block that can still grow counts as large as it can become, so that what cannot
            # grow is used up first.
            while at + 1 < len(free) and _reach(free[at + 1][3]) < _reach(free[at][3]):
                at += 1
        length, _, _, block = free[at]
        limit = self.config.max_split_bytes
        if size < limit:
            if length >= limit:
                return None
        elif length >= size + self.config.max_non_split_rounding_bytes:
            return None
        del free[at]
        return block

    def _take(self, pool: Pool, size: int, request: int) -> Block:
        """A block with new memory from the device (the second half of malloc)."""
        state = self._state
        if state.collects:
            collect(state)
        asked = self.config.segment_bytes(size)
        block = self._ask(pool, size, asked)
        if block is None and release_unsplittable(state, pool, size):
            block = self._ask(pool, size, asked)
        if block is None:
            release_all(state)
            self.retries += 1
            block = self._ask(pool, size, asked)
        if block is None:
            self.ooms += 1
            left = self._device.free_bytes
            state.tell("oom", -1 if left is None else left, size)
            raise OutOfMemoryError(request, asked, left or 0)
        return block

    def _ask(self, pool: Pool, size: int, asked: int) -> Block | None:
        """One try (alloc_block)."""
        if not self._device.allows(asked):
            return None
        if self._expandable:
            return grow(self._state, pool, size)
        if not self._device.take(asked):
            return None
        block = Block(pool, self._device.reserve(asked), asked, self._state.order(), None)
        self._state.tell("segment_alloc", block.address, asked)
        return block


def _reach(block: Block) -> int:
    """What a free block could grow to where it stands."""
    after = block.next
    return block.size if after is None or after.mapped else block.size + after.size
