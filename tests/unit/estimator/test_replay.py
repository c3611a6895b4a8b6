"""Streams through the simulated allocator, and the snapshots made of them."""

import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffprof.errors import StoreError, UsageError
from ffprof.estimator.allocator import AllocatorConfig
from ffprof.estimator.replay import replay
from ffprof.estimator.snapshot import snapshot, write_snapshot
from ffprof.estimator.stream import Allocation, Stream

MIB = 1024 * 1024
EXPANDABLE = AllocatorConfig.parse("expandable_segments:True")


def request(nbytes, category="activation", module="features.3", operator="aten.convolution"):
    return Allocation(nbytes, category, "forward", module, operator)


def example():
    stream = Stream()
    weight = stream.allocate(request(1000, "parameter", operator="aten.empty"))
    stream.mark("step 0")
    first = stream.allocate(request(12 * MIB))
    scratch = stream.allocate(request(30 * MIB, "workspace"))
    stream.free(scratch)
    stream.mark("step 1")
    second = stream.allocate(request(11 * MIB + 5, operator="aten.relu"))
    stream.free(first)
    stream.allocate(request(0))
    stream.free(second)
    return stream, weight, first, scratch, second


def test_peaks_and_where_they_are():
    stream, weight, first, scratch, _ = example()
    found = replay(stream)
    assert found.allocated_peak_bytes == 1024 + 42 * MIB
    assert found.requested_peak_bytes == 1000 + 42 * MIB
    assert found.reserved_peak_bytes == 44 * MIB
    assert found.allocated_peak_position == 2
    assert found.at_allocated_peak.live == (weight, first, scratch)
    assert found.at_allocated_peak.allocated_bytes == found.allocated_peak_bytes
    assert found.reserved_end_bytes == 44 * MIB
    assert found.allocated_end_bytes == 1024
    assert found.fits
    assert (found.retries, found.out_of_memory) == (0, None)
    parts = found.at_allocated_peak.fragmentation
    assert parts.rounding_bytes == 24
    assert parts.unsplit_bytes == 0
    assert parts.stuck_bytes == 2 * MIB - 1024
    assert parts.cached_bytes == 0


def test_workspaces_can_be_left_out():
    stream, *_ = example()
    found = replay(stream, include_workspaces=False)
    # The second activation gets a segment of its own of 12 MiB, of which 1 MiB is not split off.
    assert found.allocated_peak_bytes == 1024 + 24 * MIB
    assert found.reserved_peak_bytes == 26 * MIB
    assert found.at_allocated_peak.fragmentation.unsplit_bytes == MIB - 512
    assert found.at_allocated_peak.fragmentation.rounding_bytes == 24 + 507


def test_peaks_from_a_mark():
    stream, *_ = example()
    found = replay(stream, peak_from="step 1")
    assert found.allocated_peak_bytes == 1024 + 12 * MIB + 11 * MIB + 512
    assert found.allocated_peak_position == 4
    assert found.reserved_peak_bytes == 44 * MIB
    assert found.at_reserved_peak.position == 3, "it was there at the mark"
    with pytest.raises(UsageError, match="step 0, step 1"):
        replay(stream, peak_from="step 2")


def test_running_out_says_where_and_nothing_follows():
    stream, *_, scratch, _ = example()
    found = replay(stream, capacity_bytes=40 * MIB)
    lost = found.out_of_memory
    assert not found.fits
    assert (lost.position, lost.number) == (2, scratch)
    assert (lost.request_bytes, lost.asked_bytes, lost.free_bytes) == (30 * MIB, 30 * MIB, 26 * MIB)
    assert found.retries == 1
    assert found.allocated_end_bytes == 1024 + 12 * MIB
    before = replay(stream, capacity_bytes=40 * MIB, peak_from="step 1")
    assert before.out_of_memory == lost
    assert before.allocated_peak_bytes == 1024 + 12 * MIB


def test_a_budget_lowers_what_is_reserved_at_the_price_of_retries():
    stream = Stream()
    for size in (30 * MIB, 40 * MIB, 50 * MIB):
        stream.free(stream.allocate(request(size)))
    assert replay(stream).reserved_peak_bytes == 120 * MIB
    tight = replay(stream, capacity_bytes=60 * MIB)
    assert tight.fits
    assert tight.reserved_peak_bytes == 50 * MIB
    assert tight.retries == 2
    assert replay(stream, config=EXPANDABLE).reserved_peak_bytes == 60 * MIB


def test_an_empty_stream_needs_nothing():
    found = replay(Stream())
    assert found.allocated_peak_bytes == found.reserved_peak_bytes == 0
    assert found.at_allocated_peak.position == -1


@st.composite
def streams(draw):
    rng = random.Random(draw(st.integers(0, 10**6)))
    stream, live = Stream(), []
    for _ in range(draw(st.integers(1, 120))):
        if live and rng.random() < 0.45:
            stream.free(live.pop(rng.randrange(len(live))))
        else:
            category = rng.choice(["activation", "workspace", "gradient"])
            live.append(stream.allocate(request(int(2 ** rng.uniform(0, 27)), category)))
    return stream


@given(streams(), st.sampled_from([AllocatorConfig(), EXPANDABLE]), st.booleans())
@settings(max_examples=60)
def test_any_stream(stream, config, workspaces):
    found = replay(stream, config=config, include_workspaces=workspaces)
    if workspaces:
        assert found.requested_peak_bytes == max(now for _, now in stream.live())
    assert found.requested_peak_bytes <= found.allocated_peak_bytes <= found.reserved_peak_bytes
    for state, peak in (
        (found.at_allocated_peak.allocated_bytes, found.allocated_peak_bytes),
        (found.at_reserved_peak.reserved_bytes, found.reserved_peak_bytes),
    ):
        assert state == peak
    asked = [stream.allocations[n].nbytes for n in found.at_allocated_peak.live]
    assert sum(asked) == found.at_allocated_peak.requested_bytes
    enough = replay(
        stream, config=config, include_workspaces=workspaces,
        capacity_bytes=found.reserved_peak_bytes,
    )  # fmt: skip
    assert enough.fits
    assert enough.retries == 0
    assert enough.reserved_peak_bytes == found.reserved_peak_bytes
    short = replay(stream, config=config, capacity_bytes=found.requested_peak_bytes // 2)
    assert not short.fits
    assert short.reserved_peak_bytes <= found.requested_peak_bytes // 2


@pytest.mark.parametrize("config", [AllocatorConfig(), EXPANDABLE])
def test_torchs_own_tools_read_the_snapshot(tmp_path, config):
    from torch.cuda import _memory_viz as viz

    stream, _, first, *_ = example()
    path = tmp_path / "snapshot.pickle"
    write_snapshot(path, snapshot(stream, config=config, until=2))
    taken = pickle.loads(path.read_bytes())
    held = replay(stream, config=config).at_allocated_peak
    assert sum(s["total_size"] for s in taken["segments"]) == held.reserved_bytes
    assert sum(s["allocated_size"] for s in taken["segments"]) == held.allocated_bytes
    text = viz.segsum(taken)
    assert f"total_reserved: {viz.Bytes(held.reserved_bytes)}" in text
    assert f"total_allocated: {viz.Bytes(held.requested_bytes)}" in text
    lines = []
    viz.memory(taken, format_flamegraph=lines.append)
    viz.segments(taken, format_flamegraph=lines.append)
    stack = "category:0:activation;phase:0:forward;module:0:features.3;operator:0:aten.convolution"
    assert all(f"active_allocated;{stack} {12 * MIB}\n" in text for text in lines)
    trace = viz.trace(taken)
    assert f"[0:{viz.Bytes(stream.allocations[first].nbytes)}]" in trace
    for plot in (viz.trace_plot, viz.segment_plot):
        assert "snapshot.pickle" in plot(taken)


def test_a_snapshot_ends_where_memory_does(tmp_path):
    from torch.cuda import _memory_viz as viz

    stream, *_ = example()
    taken = snapshot(stream, capacity_bytes=40 * MIB)
    (trace,) = taken["device_traces"]
    assert [entry["action"] for entry in trace] == [
        "segment_alloc", "alloc", "segment_alloc", "alloc", "oom",
    ]  # fmt: skip
    assert trace[-1]["device_free"] == 26 * MIB
    assert trace[-1]["time_us"] == 2
    assert "OutOfMemoryError" in viz.trace(taken)
    whole = snapshot(stream)["device_traces"][0]
    assert sum(e["action"] == "free_completed" for e in whole) == 3
    with pytest.raises(StoreError):
        write_snapshot(tmp_path / "absent" / "file", taken)
    assert list(tmp_path.iterdir()) == []
