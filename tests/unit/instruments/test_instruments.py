import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from ffprof.instruments.allocator import AllocatorPeaks, FakeAllocator, NullAllocator
from ffprof.instruments.clock import FakeClock, WallClock
from ffprof.instruments.host_memory import FakeHostMemory, ProcessHostMemory
from ffprof.instruments.tensors import LiveTensors, SavedTensors

MIB = 1024 * 1024
FLOATS = MIB // 4  # of float32 in a MiB


def test_wall_clock_laps_add_up():
    clock = WallClock()
    clock.start()
    for _ in range(5):
        clock.lap()
    laps = clock.laps()
    assert len(laps) == 5
    assert all(lap >= 0 for lap in laps)
    assert sum(laps) <= clock.elapsed()


def test_a_clock_can_be_started_again():
    clock = WallClock()
    clock.start()
    clock.lap()
    clock.start()
    assert clock.laps() == []


def test_fake_clock_replays():
    clock = FakeClock([1.0, 2.0])
    clock.start()
    clock.lap()
    assert clock.elapsed() == 1.0
    clock.lap()
    assert clock.laps() == [1.0, 2.0]


def test_null_and_fake_allocators():
    null = NullAllocator("none here")
    null.reset_peak()
    assert null.read().allocated_peak_bytes is None
    assert null.read().reason == "none here"
    reading = AllocatorPeaks(
        allocated_peak_bytes=1, reserved_peak_bytes=2, alloc_retries=0, oom_events=0
    )
    fake = FakeAllocator([reading])
    fake.reset_peak()
    assert (fake.read(), fake.resets) == (reading, 1)


def test_live_tensors_count_each_storage_once_at_its_peak():
    with LiveTensors("cpu") as live:
        a = torch.zeros(FLOATS)
        view = a.view(2, -1)[1]
        b = a + 1
        assert live.live_bytes == 2 * MIB
        del b
        assert live.live_bytes == MIB
        c = a.clone()
        assert live.peak_bytes == 2 * MIB
        del a, c
        assert live.live_bytes == MIB  # held by the view
        del view
        assert live.live_bytes == 0
    assert live.peak_bytes == 2 * MIB


def test_live_tensors_start_from_what_is_held():
    held = torch.zeros(FLOATS)
    with LiveTensors("cpu", [held, held.view(-1)]) as live:
        assert live.live_bytes == MIB
        held.add_(1)
        assert live.peak_bytes == MIB
        held.mul(2)
    assert live.peak_bytes == 2 * MIB


def test_live_tensors_see_growth_of_a_storage():
    with LiveTensors("cpu") as live:
        a = torch.zeros(FLOATS)
        a.resize_(3 * FLOATS)
        assert live.live_bytes == 3 * MIB


def test_live_tensors_see_the_backward_pass():
    """y = relu(x); in backward the gradient of x is alive with x, y and the gradient of y."""
    x = torch.ones(FLOATS, requires_grad=True)
    with LiveTensors("cpu", [x]) as live:
        x.relu().sum().backward()
    assert live.peak_bytes == pytest.approx(3 * MIB, abs=64)  # the sum's gradient is expanded
    assert live.live_bytes == pytest.approx(2 * MIB, abs=64)


def test_live_tensors_ignore_other_devices():
    with LiveTensors("cuda") as live:
        torch.zeros(FLOATS)
    assert live.peak_bytes == 0


def test_a_steady_step_returns_to_where_it_began_and_repeats_to_the_byte():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)
    )
    images = torch.randn(4, 3, 16, 16)
    net(images)
    optimizer = torch.optim.AdamW(net.parameters())

    def step():
        net(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    def held():
        state = [t for s in optimizer.state.values() for t in s.values()]
        return [*net.parameters(), *net.buffers(), *state]

    step()
    peaks = []
    for _ in range(3):
        with LiveTensors("cpu", held()) as live:
            before = live.live_bytes
            step()
            assert live.live_bytes == before
        peaks.append(live.peak_bytes)
    assert len(set(peaks)) == 1
    assert peaks[0] > before


def test_saved_tensors_count_what_autograd_holds():
    w = nn.Parameter(torch.ones(FLOATS))
    x = torch.ones(FLOATS)
    with SavedTensors([w]) as saved:
        y = (w * x).relu()  # saves x (and w, not counted), and the output of relu
        assert saved.held_bytes == 2 * MIB
        z = y.relu()  # saves its own output
        assert saved.held_bytes == 3 * MIB
        z.sum().backward()
        assert saved.held_bytes == 0
    assert saved.peak_bytes == 3 * MIB
    assert torch.equal(w.grad, torch.ones(FLOATS))


def test_saved_tensors_say_when_a_workload_keeps_them_in_its_own_way():
    from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
    from torch.utils.checkpoint import checkpoint

    enter = saved_tensors_hooks.__enter__
    x = torch.randn(FLOATS, requires_grad=True)
    with SavedTensors() as saved:
        x.exp().sum().backward()
    assert not saved.hidden
    with SavedTensors() as saved:
        checkpoint(lambda v: v.exp().sin(), x, use_reentrant=False).sum().backward()
    assert saved.hidden
    with SavedTensors() as saved, save_on_cpu():
        x.exp().sum().backward()
    assert saved.hidden
    assert saved_tensors_hooks.__enter__ is enter


def test_saved_tensors_count_a_shared_storage_once():
    x = torch.ones(FLOATS, requires_grad=True)
    with SavedTensors() as saved:
        (x * x).sum().backward()
    assert saved.peak_bytes == MIB


HOST_PEAK = """
import gc, sys
from ffprof.instruments.host_memory import ProcessHostMemory
host = ProcessHostMemory()
big = bytearray(200 << 20); big[:] = b"x" * len(big); del big; gc.collect()
with_big = host.peak_bytes()
can = host.reset_peak()
small = bytearray(20 << 20)
print(can, with_big >> 20, host.peak_bytes() >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's high-water mark is Linux's")
def test_the_high_water_mark_falls_after_a_reset_and_only_then():
    done = subprocess.run(
        [sys.executable, "-c", HOST_PEAK], capture_output=True, text=True, check=True
    )
    can, before, after = done.stdout.split()
    assert int(before) >= 200
    if can == "True":
        assert int(after) < int(before) - 100
    else:
        assert int(after) >= int(before)


def test_a_system_that_refuses_the_reset_says_so(tmp_path):
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t  1234 kB\n")
    host = ProcessHostMemory(tmp_path / "nowhere")
    assert host.reset_peak() is False
    assert host.peak_bytes() > 0  # getrusage
    assert ProcessHostMemory(tmp_path).peak_bytes() == 1234 * 1024
    assert FakeHostMemory(5, resettable=False).reset_peak() is False


def test_sparse_gradients_are_counted_and_strange_layouts_named():
    table = nn.Embedding(100, 8, sparse=True)
    index = torch.tensor([1, 2, 3])
    with LiveTensors("cpu", table.parameters()) as live:
        before = live.live_bytes
        table(index).sum().backward()
        assert live.live_bytes >= before + 3 * 8 * 4
    assert live.uncounted == ""
    with SavedTensors() as saved:
        table(index).sum().backward()
    assert saved.held_bytes == 0
    with LiveTensors("cpu") as live:
        torch.eye(3).to_sparse_csr()
    assert "csr" in live.uncounted


def test_waiting_is_from_the_end_of_a_step_to_the_arrival_of_the_next_batch():
    clock = WallClock()
    clock.fed()  # before the start: nothing is timed yet
    clock.start()
    for pause in (0.02, 0.0, 0.02):
        time.sleep(pause)
        clock.fed()
        time.sleep(0.01)
        clock.lap()
    assert 0.04 <= clock.waited() < sum(clock.laps()) - 0.025
    clock.start()
    assert clock.waited() == 0
