"""A GPU as NVML would show it, told by a script, and children that stand for trials on it.

The parent's whole path is real: processes, messages, sampling, the record on the disk. Only what
the driver says and what a trial measures is told.
"""

import dataclasses
import multiprocessing
import time

from ffprof.harness.process.messages import Failed, Finished, Probed, Report, TrialStart
from ffprof.instruments.nvml import DeviceFacts, GpuLostError, GpuProcess, Sample
from ffprof.records.audit import Conditions, Debit, Loss, Memory, Throughput

MIB = 2**20
UUID = "GPU-11111111-2222-3333-4444-555555555555"
TIMED_SECONDS = 0.15
# Looks at the GPU, for the trials that are forked from this process; 0 while there is none.
_LOOKS = multiprocessing.RawValue("q", 0)
WATTS = 100.0


class FakeGpu:
    """Answers with a healthy sample that ``change(sample, number)`` may alter; None is a loss."""

    def __init__(self, change=lambda sample, number: sample):
        self.change, self.number, self.began = change, 0, time.monotonic()
        self.closed = False
        _LOOKS.value = 1

    def sample(self):
        self.number += 1
        _LOOKS.value += 1
        now = time.monotonic()
        healthy = Sample(
            seconds=now,
            device_used_bytes=900 * MIB,
            processes=(),
            power_watts=WATTS,
            energy_joules=WATTS * (now - self.began),
            sm_clock_mhz=1500,
            memory_clock_mhz=8000,
            throttle=0,
            temperature_celsius=60,
            unread={},
        )
        changed = self.change(healthy, self.number)
        if changed is None:
            raise GpuLostError("GPU is lost")
        return changed

    def facts(self):
        return DeviceFacts(uuid=UUID, name="fake", default_clock=1500)

    def close(self):
        self.closed = True
        _LOOKS.value = 0


def with_processes(sample, *pids, used=800 * MIB):
    found = tuple(
        GpuProcess(pid=pid, used_bytes=used, graphics=False, name="other") for pid in pids
    )
    return dataclasses.replace(sample, processes=found)


def report(timed):
    return Report(
        memory=Memory(allocated_peak_bytes=5 * MIB, reserved_peak_bytes=20 * MIB),
        throughput=Throughput(images_per_second=80.0, step_seconds=(0.1,) * 3, data_wait_seconds=0),
        loss=Loss(first=2.0, last=1.0, finite=True, steps=3),
        conditions=Conditions(threads=1),
        facts={"threads": 1},
        timed=timed,
        images=24,
    )


def debit(hold, **more):
    fields = {
        "context_bytes": 300 * MIB,
        "step_bytes": 500 * MIB,
        "end_bytes": 500 * MIB,
        "counted_bytes": max(500 * MIB, hold.counted_bytes),
        "source": "NVML, this process",
    }
    return Debit(**(fields | more))


def trial_child(sender, workload, recipe, device, hold):
    """A trial of which most is timed, for as long as it takes to be looked at a few times."""
    sender.send(TrialStart(gpu_uuid=UUID))
    time.sleep(0.02)
    began, before = time.monotonic(), _LOOKS.value
    time.sleep(TIMED_SECONDS)
    # On a machine where others compute, the parent looks when it has its turn.
    while 0 < _LOOKS.value < before + 6 and time.monotonic() < began + 120:
        time.sleep(0.01)
    sender.send(Finished(report=report((began, time.monotonic())), debit=debit(hold)))


def growing_child(sender, workload, recipe, device, hold):
    """A process that takes 650 MiB beside the allocator, whatever was counted before."""
    sender.send(TrialStart(gpu_uuid=UUID))
    beyond = max(0, 650 * MIB - hold.counted_bytes)
    found = debit(hold, end_bytes=650 * MIB, exceeded_bytes=beyond)
    now = time.monotonic()
    sender.send(Finished(report=report((now, now + 0.1)), debit=found))


def hanging_child(sender, workload, recipe, device, hold):
    """A trial whose GPU is gone, so that it waits for ever."""
    sender.send(TrialStart(gpu_uuid=UUID))
    time.sleep(600)


def oom_child(sender, workload, recipe, device, hold):
    sender.send(TrialStart(gpu_uuid=UUID))
    time.sleep(0.25)
    told = f"does not fit the budget of {hold.words}"
    sender.send(Failed(outcome="oom", message=told, debit=debit(hold)))


def memory_child(sender, workload, recipe, hold):
    sender.send(TrialStart(gpu_uuid=UUID))
    assert not hold.limited
    memory = Memory(allocated_peak_bytes=5 * MIB, reserved_peak_bytes=9000 * MIB)
    sender.send(Probed(memory=memory, debit=debit(hold, step_bytes=620 * MIB)))
