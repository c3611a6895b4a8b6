"""Whether the null device works here: it is built, and a step of PyTorch is run on it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ffprof.errors import NullDeviceError, one_line
from ffprof.hardware.doctor.facts import NullDeviceFacts
from ffprof.nulldevice.build import is_built, library
from ffprof.nulldevice.description import (
    CONTEXT_BYTES,
    LIBRARY_BYTES,
    NullDevice,
    environment,
    inherited,
    is_in_use,
)
from ffprof.nulldevice.report import read_report
from ffprof.units import GIB

_SECONDS = 120.0  # for importing torch and the step
_WIDTH = 256
# Weight, bias and their gradients.
_LEAST_BYTES = 2 * 4 * (_WIDTH * _WIDTH + _WIDTH)
_STEP = f"""
import json, time, torch
layer = torch.nn.Linear({_WIDTH}, {_WIDTH}).cuda()
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
for _ in range(2):  # the first also imports
    began = time.perf_counter()
    layer(torch.ones(8, {_WIDTH}, device="cuda")).sum().backward()
    optimizer.step()
    torch.cuda.synchronize()
print(json.dumps([torch.cuda.max_memory_allocated(), time.perf_counter() - began]))
"""
_DEVICE = NullDevice(
    name="a null device",
    total_bytes=8 * GIB,
    context_bytes=CONTEXT_BYTES,
    library_bytes=LIBRARY_BYTES,
    capability=(8, 9),
    multiprocessors=24,
    threads_per_multiprocessor=1536,
)
# What would hide the device, or has PyTorch do without its allocator.


def prove(say: Callable[[str], None] = lambda text: None) -> NullDeviceFacts | None:
    """Build the device and run a step on it; None inside of a process that is on one already.

    Args:
        say: told in one line what takes time.
    """
    if is_in_use():
        return None
    began = time.monotonic()
    try:
        built = is_built()
        if not built:
            say("compiling the null device, once ...")
        folder = library()
    except NullDeviceError as error:
        return NullDeviceFacts(problem=one_line(error.problem), fix=error.fix)
    seconds = None if built else time.monotonic() - began
    try:
        step_seconds, unknown = _step()
    except NullDeviceError as error:
        return NullDeviceFacts(
            problem=one_line(error.problem),
            fix=error.fix,
            folder=str(folder),
            build_seconds=seconds,
        )
    return NullDeviceFacts(
        folder=str(folder),
        build_seconds=seconds,
        step_seconds=step_seconds,
        unknown=unknown,
    )


def _step() -> tuple[float, tuple[str, ...]]:
    """The seconds of a step, and calls that the device did not know.

    Raises:
        NullDeviceError: it failed, or took less memory than its weights do.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="ffprof-null-") as name:
            folder = Path(name)
            done = subprocess.run(
                [sys.executable, "-P", "-c", _STEP],
                env=inherited() | environment(_DEVICE, folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
            unknown = tuple(read_report(folder).unknown)
    except subprocess.TimeoutExpired as error:
        raise _failed(f"it did not end in {_SECONDS:g} s") from error
    except OSError as error:
        raise _failed(str(error)) from error
    told = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode:
        raise _failed(told[-1] if told else f"exit status {done.returncode}")
    try:
        allocated, seconds = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise _failed("it printed no figures") from error
    if allocated < _LEAST_BYTES:
        raise _failed(f"it took {allocated} bytes, and its weights alone take {_LEAST_BYTES}")
    return seconds, unknown


def _failed(why: str) -> NullDeviceError:
    return NullDeviceError(
        f"a step of PyTorch on the null device failed: {one_line(why)[:300]}",
        "say so, with the versions of torch and CUDA (docs/null_device.md)",
    )
