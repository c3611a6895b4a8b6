"""The caching allocator on cases worked by hand from its source."""

import pytest

from ffprof.errors import UsageError
from ffprof.estimator.allocator import AllocatorConfig, CachingAllocator, OutOfMemoryError

MIB = 1024 * 1024
GIB = 1024 * MIB


def allocator(settings="", **limits):
    return CachingAllocator(config=AllocatorConfig.parse(settings), **limits)


@pytest.mark.parametrize(
    ("request_bytes", "block_bytes", "reserved_bytes"),
    [
        (1, 512, 2 * MIB),
        (512, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        # From 10 MiB on a segment is rounded to 2 MiB, and 1 MiB or less is not split off.
        (10 * MIB, 10 * MIB, 10 * MIB),
        (10 * MIB + 1, 10 * MIB + 512, 12 * MIB),
        (11 * MIB, 12 * MIB, 12 * MIB),
        (11 * MIB + 105, 12 * MIB, 12 * MIB),
        (12 * MIB, 12 * MIB, 12 * MIB),
        # 19 MiB of 20 leave exactly 1 MiB, which is not split off; a block less is.
        (18 * MIB + 512, 20 * MIB - (2 * MIB - 512), 20 * MIB),
        (19 * MIB, 20 * MIB, 20 * MIB),
    ],
)
def test_one_request(request_bytes, block_bytes, reserved_bytes):
    one = allocator()
    assert one.allocate(request_bytes).size == block_bytes
    assert one.allocated_bytes == block_bytes
    assert one.reserved_bytes == reserved_bytes
    assert one.requested_bytes == request_bytes


def test_nothing_is_allocated_for_nothing():
    one = allocator()
    block = one.allocate(0)
    assert block is None
    one.free(block)
    assert one.reserved_bytes == 0
    with pytest.raises(UsageError):
        one.allocate(-1)


def test_middle_sizes_share_a_segment():
    one = allocator()
    first, second = one.allocate(3 * MIB // 2), one.allocate(6 * MIB)
    assert second.address == first.address + 3 * MIB // 2
    assert one.reserved_bytes == 20 * MIB
    free = 20 * MIB - 3 * MIB // 2 - 6 * MIB
    assert free == 25 * MIB // 2
    assert one.segments()[0].largest_free_bytes == free
    assert one.allocate(12 * MIB).size == free
    assert one.reserved_bytes == 20 * MIB


def test_a_free_block_merges_with_both_neighbours():
    one = allocator()
    blocks = [one.allocate(4 * MIB) for _ in range(4)]
    for at in (0, 2, 1):
        one.free(blocks[at])
    (segment,) = one.segments()
    assert [(b.size_bytes, b.state) for b in segment.blocks] == [
        (12 * MIB, "inactive"), (4 * MIB, "active"), (4 * MIB, "inactive"),
    ]  # fmt: skip
    one.free(blocks[3])
    (segment,) = one.segments()
    assert [b.size_bytes for b in segment.blocks] == [20 * MIB]


def test_best_fit_takes_the_smallest_then_the_oldest_then_the_lowest():
    one = allocator()
    large, small, same = (one.allocate(n * MIB) for n in (64, 32, 32))
    first, second = small.address, same.address
    for block in (large, same, small):
        one.free(block)
    assert one.allocate(32 * MIB).address == first
    assert one.allocate(32 * MIB).address == second
    assert one.reserved_bytes == 128 * MIB


def test_of_equals_the_oldest_segment_or_the_lowest_address():
    """A hole low down is used by a later segment; older releases go by address."""
    for ties in ("segment", "block", "address"):
        one = CachingAllocator(config=AllocatorConfig(ties=ties))
        hole = one.allocate(64 * MIB)
        older = one.allocate(32 * MIB)
        one.free(hole)
        one.empty_cache()
        younger = one.allocate(32 * MIB)
        assert younger.address < older.address
        older_address, younger_address = older.address, younger.address
        one.free(older)
        one.free(younger)
        wanted = younger_address if ties == "address" else older_address
        assert one.allocate(32 * MIB).address == wanted


def test_cached_segments_are_given_back_before_memory_runs_out():
    one = allocator(capacity_bytes=100 * MIB)
    one.free(one.allocate(60 * MIB))
    assert (one.reserved_bytes, one.retries) == (60 * MIB, 0)
    one.allocate(80 * MIB)
    assert (one.reserved_bytes, one.retries, one.ooms) == (80 * MIB, 1, 0)
    assert one.reserved_peak_bytes == 80 * MIB


def test_a_split_segment_cannot_be_given_back():
    one = allocator(capacity_bytes=100 * MIB)
    block = one.allocate(60 * MIB)
    one.free(block)
    held = one.allocate(2 * MIB)
    assert held.size == 2 * MIB
    assert one.reserved_bytes == 60 * MIB
    with pytest.raises(OutOfMemoryError) as error:
        one.allocate(59 * MIB - 1000)
    assert error.value.request_bytes == 59 * MIB - 1000
    assert error.value.asked_bytes == 60 * MIB
    assert error.value.free_bytes == 40 * MIB
    assert (one.retries, one.ooms) == (1, 1)
    one.free(held)
    one.allocate(59 * MIB - 1000)


def test_the_cap_of_the_process_counts_what_is_reserved():
    one = allocator(allowed_bytes=30 * MIB)
    one.allocate(3 * MIB)
    with pytest.raises(OutOfMemoryError):
        one.allocate(17 * MIB + 1)
    one.allocate(17 * MIB)
    assert one.reserved_bytes == 20 * MIB


def test_blocks_of_the_split_limit_stay_whole():
    one = allocator("max_split_size_mb:32")
    one.free(one.allocate(64 * MIB))
    assert one.allocate(30 * MIB).size == 30 * MIB
    assert one.reserved_bytes == 94 * MIB, "a small request does not break an oversize block"
    assert one.allocate(45 * MIB).size == 64 * MIB, "19 MiB more than asked is allowed"
    one = allocator("max_split_size_mb:32")
    one.free(one.allocate(64 * MIB))
    assert one.allocate(44 * MIB).size == 44 * MIB, "20 MiB more is not"
    assert one.reserved_bytes == 108 * MIB


def test_under_a_split_limit_one_large_block_is_given_back_first():
    one = allocator("max_split_size_mb:32", capacity_bytes=200 * MIB)
    for block in [one.allocate(64 * MIB), one.allocate(96 * MIB), one.allocate(30 * MIB)]:
        one.free(block)
    one.allocate(40 * MIB)
    assert one.reserved_bytes == (96 + 30 + 40) * MIB, "only the 64 MiB were given back"
    assert one.retries == 0


def test_old_cached_segments_are_collected_above_the_threshold():
    one = allocator("garbage_collection_threshold:0.5", allowed_bytes=200 * MIB)
    old, young = one.allocate(60 * MIB), one.allocate(62 * MIB)
    other = one.allocate(3 * MIB)
    one.free(old)
    for _ in range(5):
        one.free(one.allocate(3 * MIB))
    one.free(young)
    one.allocate(64 * MIB)
    sizes = sorted(s.size_bytes for s in one.segments())
    assert one.retries == 0
    assert sizes == [20 * MIB, 62 * MIB, 64 * MIB], "the one that was free longer has gone"
    one.free(other)


def test_power_of_two_divisions():
    config = AllocatorConfig.parse("roundup_power2_divisions:4")
    # The example in torch's documentation, in 1024ths of it: 1200 becomes 1280.
    assert config.round(1200 * 1024) == 1280 * 1024
    assert config.round(1024 * 1024) == 1024 * 1024
    assert config.round(513) == 1024, "up to 512 B times the divisions, steps are 512 B"


def test_expandable_segments_grow_by_pages():
    one = allocator("expandable_segments:True")
    one.allocate(1000)
    assert one.reserved_bytes == 2 * MIB
    first = one.allocate(15 * MIB)
    assert one.reserved_bytes == 22 * MIB
    second = one.allocate(15 * MIB)
    assert one.reserved_bytes == 42 * MIB, "5 MiB were left, one page of 20 was added"
    assert second.address == first.address + 15 * MIB
    assert len(one.segments()) == 2
    third = one.allocate(15 * MIB)
    assert one.reserved_bytes == 62 * MIB
    one.free(second)
    one.empty_cache()
    # 15 to 30 MiB hold no whole page; 45 to 60 do.
    assert one.reserved_bytes == 2 * MIB + 60 * MIB
    one.free(third)
    one.empty_cache()
    assert one.reserved_bytes == 2 * MIB + 20 * MIB


def test_an_unmapped_hole_is_filled_again():
    one = allocator("expandable_segments:True", capacity_bytes=GIB)
    blocks = [one.allocate(20 * MIB) for _ in range(3)]
    one.free(blocks[1])
    one.empty_cache()
    states = [b.state for b in one.segments()[0].blocks]
    assert states == ["active", "unmapped", "active", "unmapped"]
    again = one.allocate(20 * MIB)
    assert again.address == blocks[0].address + 20 * MIB


def test_a_request_larger_than_any_card_is_counted_without_a_limit_and_refused_under_one():
    huge = 500 * GIB
    one = allocator("expandable_segments:True")
    block = one.allocate(huge)
    assert (block.size, one.reserved_bytes) == (huge, huge)
    with pytest.raises(OutOfMemoryError):
        allocator("expandable_segments:True", capacity_bytes=GIB).allocate(huge)


def test_an_expandable_segment_given_up_leaves_nothing():
    one = allocator("expandable_segments:True")
    blocks = [one.allocate(n) for n in (100, 5 * MIB, 300 * MIB)]
    for block in blocks:
        one.free(block)
    one.empty_cache()
    assert one.reserved_bytes == 0
    assert one.segments() == []


def test_events_are_told():
    seen = []
    one = CachingAllocator(observer=lambda *event: seen.append(event), capacity_bytes=30 * MIB)
    block = one.allocate(1000)
    start = block.address
    one.free(block)
    with pytest.raises(OutOfMemoryError):
        one.allocate(31 * MIB)
    assert seen == [
        ("segment_alloc", start, 2 * MIB), ("alloc", start, 1000), ("free", start, 1000),
        ("segment_free", start, 2 * MIB), ("oom", 30 * MIB, 31 * MIB),
    ]  # fmt: skip


def test_peaks_start_again():
    one = allocator()
    one.free(one.allocate(40 * MIB))
    one.allocate(MIB)
    one.reset_peaks()
    assert one.allocated_peak_bytes == MIB
    assert one.requested_peak_bytes == MIB
    assert one.reserved_peak_bytes == 42 * MIB


def test_a_block_cannot_be_freed_twice():
    one = allocator()
    block = one.allocate(100)
    one.free(block)
    with pytest.raises(UsageError):
        one.free(block)


def test_settings_are_read_and_written():
    text = "expandable_segments:True,max_split_size_mb:64,max_non_split_rounding_mb:32"
    config = AllocatorConfig.parse(text)
    assert config.expandable_segments
    assert config.max_split_bytes == 64 * MIB
    assert config.max_non_split_rounding_bytes == 32 * MIB
    assert AllocatorConfig.parse("") == AllocatorConfig()
    for each in (text, "", "roundup_power2_divisions:[8:4,>:2],large_segment_size_mb:40",
                 "garbage_collection_threshold:0.8"):  # fmt: skip
        config = AllocatorConfig.parse(each)
        assert AllocatorConfig.parse(config.text()) == config


@pytest.mark.parametrize(
    "text",
    [
        "backend:cudaMallocAsync",
        "pinned_use_background_threads:True",
        "per_process_memory_fraction:0.5",
        "nonsense:1",
        "expandable_segments",
        "expandable_segments:true",
        "expandable_segments=True",
        "max_split_size_mb:19",
        "max_split_size_mb:-1",
        "max_split_size_mb:30 max_split_size_mb:40",
        "max_non_split_rounding_mb:10",
        "large_segment_size_mb:10",
        "garbage_collection_threshold:1.0",
        "garbage_collection_threshold:nan",
        "garbage_collection_threshold:x",
        "roundup_power2_divisions:3",
        "roundup_power2_divisions:[3:4]",
        "roundup_power2_divisions:[4:3]",
        "roundup_power2_divisions:[4]",
        ",",
    ],
)
def test_settings_that_are_not_simulated_are_refused(text):
    with pytest.raises(UsageError):
        AllocatorConfig.parse(text)


def test_what_can_still_grow_is_used_last():
    """The free end of an expandable segment is smaller, but counts as what it could become."""
    one = allocator("expandable_segments:True")
    middle = one.allocate(6 * MIB)
    last = one.allocate(9 * MIB)
    start = middle.address
    one.free(middle)
    assert one.segments()[0].blocks[2].size_bytes == 5 * MIB
    assert one.allocate(4 * MIB).address == start
    assert one.allocate(4 * MIB).address == last.address + 9 * MIB
