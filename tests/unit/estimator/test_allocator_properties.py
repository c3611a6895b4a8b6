"""What must hold of the caching allocator whatever is asked of it."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ffprof.estimator.allocator import AllocatorConfig, CachingAllocator, OutOfMemoryError
from ffprof.estimator.replay import fragmentation

MIB = 1024 * 1024
CONFIGS = [
    "", "expandable_segments:True", "max_split_size_mb:32", "roundup_power2_divisions:4",
    "expandable_segments:True,large_segment_size_mb:12", "garbage_collection_threshold:0.5",
]  # fmt: skip
SIZES = st.one_of(
    st.integers(1, 4096),
    st.integers(MIB - 1024, MIB + 1024),
    st.integers(1, 64 * MIB),
    st.sampled_from([MIB, 10 * MIB, 11 * MIB, 20 * MIB, 21 * MIB]),
)


def check(allocator, live, capacity):
    segments = allocator.segments()
    blocks = [block for segment in segments for block in segment.blocks]
    for segment in segments:
        at = segment.address
        before = None
        for block in segment.blocks:
            assert block.address == at, "blocks tile their segment"
            at += block.size_bytes
            if before == block.state:
                assert block.state == "active", "free neighbours merge"
            before = block.state
    ends = [(s.address, s.blocks[-1].address + s.blocks[-1].size_bytes) for s in segments]
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    active = [block for block in blocks if block.state == "active"]
    assert {b.address: b.requested_bytes for b in active} == {
        block.address: size for block, size in live
    }
    assert all(b.size_bytes >= b.requested_bytes for b in active)
    assert sum(b.size_bytes for b in active) == allocator.allocated_bytes
    assert sum(segment.size_bytes for segment in segments) == allocator.reserved_bytes
    assert allocator.requested_bytes <= allocator.allocated_bytes <= allocator.reserved_bytes
    assert allocator.allocated_bytes <= allocator.allocated_peak_bytes
    assert allocator.reserved_bytes <= allocator.reserved_peak_bytes <= capacity
    parts = fragmentation(segments, allocator.config)
    assert parts.gap_bytes == allocator.reserved_bytes - allocator.allocated_bytes
    assert parts.total_bytes == allocator.reserved_bytes - allocator.requested_bytes
    assert min(parts.rounding_bytes, parts.unsplit_bytes, parts.stuck_bytes) >= 0


class Machine(RuleBasedStateMachine):
    """Allocations and frees in any order, held against a plain list of what is alive."""

    @initialize(text=st.sampled_from(CONFIGS), capacity=st.integers(20 * MIB, 600 * MIB))
    def start(self, text, capacity):
        self.capacity = capacity
        limits = {"capacity_bytes": capacity}
        if "garbage" in text:
            limits["allowed_bytes"] = capacity
        self.allocator = CachingAllocator(config=AllocatorConfig.parse(text), **limits)
        self.live = []

    @rule(size=SIZES)
    def allocate(self, size):
        ooms = self.allocator.ooms
        try:
            block = self.allocator.allocate(size)
        except OutOfMemoryError as error:
            assert self.allocator.ooms == ooms + 1
            self.no_way(size, error.asked_bytes)
        else:
            self.live.append((block, size))

    def no_way(self, size, asked):
        """After running out: no free block would do, and nothing more can be given back."""
        held = self.allocator.reserved_bytes
        segments = self.allocator.segments()
        config = self.allocator.config
        assert all(segment.releasable_bytes == 0 for segment in segments)
        if not config.expandable_segments:
            assert held + asked > self.capacity
        small = config.round(size) <= MIB
        largest = max((s.largest_free_bytes for s in segments if s.small == small), default=0)
        assert largest < config.round(size) or largest >= config.max_split_bytes

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def free(self, data):
        at = data.draw(st.integers(0, len(self.live) - 1))
        self.allocator.free(self.live.pop(at)[0])

    @rule()
    def empty_cache(self):
        before = self.allocator.allocated_bytes
        self.allocator.empty_cache()
        assert self.allocator.allocated_bytes == before
        assert all(segment.releasable_bytes == 0 for segment in self.allocator.segments())

    @rule()
    def reset_peaks(self):
        self.allocator.reset_peaks()
        assert self.allocator.reserved_peak_bytes == self.allocator.reserved_bytes

    @invariant()
    def holds(self):
        check(self.allocator, self.live, self.capacity)

    def teardown(self):
        if not hasattr(self, "allocator"):
            return
        for block, _ in self.live:
            self.allocator.free(block)
        assert self.allocator.allocated_bytes == self.allocator.requested_bytes == 0
        for segment in self.allocator.segments():
            states = [block.state for block in segment.blocks]
            assert states.count("active") == 0
            if not segment.page_bytes:
                assert states == ["inactive"], "all of it is one block again"
        self.allocator.empty_cache()
        assert self.allocator.reserved_bytes == 0


Machine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


@given(st.lists(SIZES, min_size=1, max_size=40))
@settings(max_examples=60)
def test_what_is_freed_last_in_first_out_needs_no_more_than_pages(sizes):
    """Expandable segments that only grow hold less than one page more than they need, per pool.

    The same requests again fit where they were, because all is one block again. Not so without
    expandable segments: a small request may take the best fit of a larger one.
    """
    allocator = CachingAllocator(config=AllocatorConfig(expandable_segments=True))
    blocks = [allocator.allocate(size) for size in sizes]
    assert allocator.reserved_bytes < allocator.allocated_bytes + 22 * MIB
    held = allocator.reserved_bytes
    for block in reversed(blocks):
        allocator.free(block)
    for size in sizes:
        allocator.allocate(size)
    assert allocator.reserved_bytes == held
