"""What a watch makes of samples; processes are real ones."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprof.instruments.nvml import (
    DeviceFacts,
    GpuLostError,
    GpuProcess,
    NullGpu,
    NvmlError,
    ReplayedGpu,
    Sample,
    Watch,
    disturbances,
)
from ffprof.records.trial import GpuConditions

MIB = 1024 * 1024


def at(seconds, *processes, **fields):
    return Sample(seconds=seconds, processes=processes, **fields)


def on(pid, mib=1, graphics=False):
    used = None if mib is None else mib * MIB
    return GpuProcess(pid=pid, name=f"p{pid}", used_bytes=used, graphics=graphics)


@pytest.fixture
def family():
    """A child, and a child of the child."""
    code = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '60']);"
        "print(p.pid, flush=True); sys.stdin.read(); p.kill(); p.wait()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield child.pid, int(child.stdout.readline())
    child.communicate("")


def test_child_grandchild_and_parent_are_not_foreign(family):
    child, grandchild = family
    watch = Watch(child)
    watch.take(at(0.0, on(child, 5), on(grandchild, 7), on(os.getpid(), 9), on(1, 3)))
    seen = watch.conditions(None, None)
    assert [line.split()[1] for line in seen.foreign] == ["(1)"]
    assert seen.foreign_peak_bytes == 3 * MIB
    assert watch.process_peak_bytes == 5 * MIB
    assert seen.process_source == "NVML, this process"


def test_a_function_gives_the_processes_that_are_summed(family):
    child, grandchild = family
    watch = Watch(lambda: family)
    watch.take(at(0.0, on(child, 5), on(grandchild, 7)))
    watch.take(at(0.1, on(child, 8)))
    assert watch.process_peak_bytes == 12 * MIB
    assert watch.conditions(None, None).foreign == ()


def test_without_a_look_beforehand_nothing_is_taken_for_the_child_of_a_container():
    nobody = 5_000_001  # larger than any kernel's pid_max
    taken = {}
    for name, baseline in (
        ("none", None),
        ("untold", Sample(seconds=0.0)),
        ("busy", at(0.0, on(nobody))),
        ("drawn on", at(0.0, on(1, graphics=True))),
        ("empty", at(0.0)),
    ):
        watch = Watch(os.getppid(), baseline)
        watch.take(at(0.1, on(nobody, 4)))
        taken[name] = watch.process_peak_bytes
        assert (watch.process_reason() == "") == (watch.process_peak_bytes is not None)
    assert taken.pop("empty") == taken.pop("drawn on") == 4 * MIB
    assert set(taken.values()) == {None}


def test_a_child_that_is_seen_after_all_leaves_the_stranger_foreign():
    child, nobody = os.getppid(), 5_000_001
    watch = Watch(child, at(0.0))
    watch.take(at(0.1, on(nobody, 4)))
    watch.take(at(0.2, on(nobody, 6), on(child, 1)))
    seen = watch.conditions(None, None)
    assert (watch.process_peak_bytes, seen.process_source) == (MIB, "NVML, this process")
    assert seen.foreign == ("p5000001 (5000001) 6.00 MiB",)
    assert seen.foreign_peak_bytes == 6 * MIB


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=20))
def test_peaks_are_those_of_all_samples(pairs):
    watch = Watch(os.getppid())
    for n, (device, own) in enumerate(pairs):
        watch.take(at(n / 10, on(os.getppid(), own), device_used_bytes=device))
    assert watch.device_peak_bytes == max(d for d, _ in pairs)
    assert watch.process_peak_bytes == max(o for _, o in pairs) * MIB
    assert (watch.samples, watch.process_reason(), watch.device_reason()) == (len(pairs), "", "")


def test_only_the_timed_phase_tells_of_clocks_and_throttling():
    watch = Watch(1, facts=DeviceFacts(uuid="GPU-1", default_clock=1000))
    for n in range(20):
        timed = 5 <= n < 15
        watch.take(
            at(
                float(n),
                sm_clock_mhz=900.0 + n if timed else 100.0,
                throttle=0x4 if timed else 0x20,
                temperature_celsius=70.0 + n,
                power_watts=200.0 if timed else 10.0,
            )
        )
    seen = watch.conditions(5.0, 14.0)
    assert (seen.samples, seen.timed_samples) == (20, 10)
    assert (seen.clock_mhz, seen.clock_low_mhz) == (909.5, 905)
    assert (seen.slowdowns, seen.slowed_share, seen.power_capped_share) == ((), 0, 1)
    assert (seen.temperature_celsius, seen.power_watts) == (84, 200)
    assert disturbances(seen) == ()
    whole = watch.conditions(0.0, 19.0)
    assert whole.slowed_share == 0.5
    assert len(disturbances(whole)) == 2


@pytest.mark.parametrize(
    ("interval", "reason"),
    [((None, None), "there was no timed phase"), ((0.31, 0.34), "no sample fell into")],
)
def test_without_timed_samples_there_is_a_reason_and_no_zero(interval, reason):
    watch = Watch(1)
    for n in range(10):
        watch.take(at(n / 10, sm_clock_mhz=900.0, throttle=0x20))
    seen = watch.conditions(*interval)
    assert (seen.clock_mhz, seen.slowed_share, seen.slowdowns) == (None, None, ())
    assert reason in seen.unread["clock_mhz"]
    assert reason in seen.unread["slowed_share"]


def test_every_null_of_a_gpu_that_tells_nothing_has_its_reason():
    null = NullGpu("not a GPU")
    watch = Watch(1)
    watch.take_from(null)
    null.close()
    seen = watch.conditions(0.0, 1e18)
    silent = {name for name, value in seen if value is None} - {"process_source"}
    assert silent <= set(seen.unread)
    assert set(seen.unread.values()) == {"not a GPU", "not asked"}
    assert watch.process_reason() == watch.device_reason() == "not a GPU"
    assert watch.energy(0.0, 1e18, 1) == (None, "not a GPU")
    GpuConditions.model_validate_json(seen.model_dump_json())


def test_a_watch_that_saw_nothing_says_why():
    watch = Watch(1)
    assert watch.process_reason() == watch.device_reason() == "no sample was taken"
    watch.failed(NvmlError("busy"))
    assert watch.process_reason() == watch.device_reason() == "NVML: busy"
    assert watch.energy(0, 1, 1) == (None, "NVML: busy")
    assert (watch.samples, watch.lost) == (0, "")


def test_failures_are_remembered_and_sampling_goes_on():
    gpu = ReplayedGpu([NvmlError("busy"), at(0.0, device_used_bytes=3), GpuLostError("gone")])
    watch = Watch(1)
    for _ in range(4):
        watch.take_from(gpu)
    assert (watch.samples, watch.device_peak_bytes) == (1, 3)
    assert watch.conditions(None, None).lost == "NVML: gone"


def conditions(**fields):
    return GpuConditions(samples=100, timed_samples=100, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, None),
        ({"slowdowns": ("power brake",), "slowed_share": 0.10}, None),
        ({"slowdowns": ("power brake",), "slowed_share": 0.11}, "power brake"),
        ({"power_capped_share": 1.0, "slowed_share": 0.0}, None),
        ({"clock_mhz": 750.0, "default_clock_mhz": 1000.0}, None),
        ({"clock_mhz": 749.0, "default_clock_mhz": 1000.0}, "749 MHz, less than 75 % of its 1000"),
        ({"clock_mhz": 100.0}, None),
        ({"foreign_graphics": ("Xorg (1)",)}, None),
        ({"foreign": tuple(f"p{n} ({n})" for n in range(6))}, "p3 (3) and 2 more"),
        ({"lost": "NVML: GPU is lost"}, "lost"),
    ],
)
def test_where_the_line_is(fields, words):
    found = disturbances(conditions(**fields))
    assert len(found) == (words is not None)
    assert words is None or words in found[0]
    assert disturbances(None) == ()
