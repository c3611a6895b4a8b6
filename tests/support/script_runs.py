"""Runs of scripts as they were told, and the estimates made of them."""

from ffprof.estimator.overhead import Overhead
from ffprof.experiments.script.outcome import Run, estimate_of
from ffprof.experiments.script.request import Room, ScriptRequest, target_of
from ffprof.harness.process.command import CommandEnding
from ffprof.nulldevice import DeviceReport
from ffprof.nulldevice.script.report import DevicePeaks, Place, Problem, RanOut, ScriptReport
from ffprof.units import GIB, MIB

OVERHEAD = Overhead(
    low_bytes=400 * MIB, likely_bytes=700 * MIB, high_bytes=1300 * MIB, measured=False, sources=()
)
ROOM = Room(total=8 * GIB, overhead=OVERHEAD)
OUT = Problem(
    kind="OutOfMemoryError", message="CUDA out of memory.", place=Place(), out_of_memory=True
)


def ran(reserved=GIB, *, status=0, late=False, steps=3, finished=True, retries=0, **more):
    top = DevicePeaks(
        device=0, cold_allocated=reserved // 2, cold_reserved=reserved // 2,
        allocated=reserved // 2, reserved=reserved, retries=retries,
    )  # fmt: skip
    report = ScriptReport(
        pid=1, python="python", steps=steps, finished=finished, used_cuda=True, peaks=(top,), **more
    )
    return run_of(report, status=status, late=late)


def run_of(*reports, status=0, late=False, device=None):
    ending = CommandEnding(status=status, late=late, last_line="the last line", seconds=2.0)
    return Run(
        capacity=ROOM.likely, ending=ending, reports=reports,
        device=device or DeviceReport(), steps=3,
    )  # fmt: skip


def out_of_memory(asked, allocated):
    ran_out = RanOut(
        device=0, asked=asked, allocated=allocated, reserved=allocated, count=1, place=Place()
    )
    return ran(status=1, steps=0, finished=False, problem=OUT, ran_out=ran_out)


def estimated(run, status="fits", second=None):
    request = ScriptRequest(command=("python", "x.py"), gpu_mem="8GB")
    return estimate_of(request, target_of(request), run, status, second)
