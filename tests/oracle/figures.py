"""Both sides of a comparison: the null device, in one child for many steps, and the tracer here."""

import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import nn

import ffprof
from ffprof.errors import UsageError
from ffprof.nulldevice import NullDevice, environment
from ffprof.units import GIB

# An RTX 4060, as the tracer assumes where no card is named, but large enough for every plan of
# cuDNN's. Context and libraries are no matter for what PyTorch allocates.
DEVICE = NullDevice(
    name="NVIDIA GeForce RTX 4060",
    total_bytes=256 * GIB,
    context_bytes=0,
    library_bytes=0,
    capability=(8, 9),
    multiprocessors=24,
    threads_per_multiprocessor=1536,
)
NOT_NEW = 75  # the child's exit code where a new process is needed
_CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """(allocated, reserved) bytes of the first step and of the second; sizes in their order."""

    cold: tuple[int, int]
    steady: tuple[int, int]
    sizes: tuple[int, ...]

    @property
    def peaks(self) -> tuple[int, ...]:
        """All four: allocated and reserved, cold and steady."""
        return (*self.cold, *self.steady)


def emulated(names, folder: Path) -> Iterator[tuple[str, Figures | str]]:
    """What PyTorch's CUDA code takes on the null device, in the order of ``names``.

    One process runs all of them; if it dies, the step that it died of has its end in the place of
    figures, and another process runs the rest.
    """
    left = list(names)
    path = folder / "answers"
    while left:
        path.write_text("")
        variables = {**os.environ, **environment(DEVICE, folder / "device")}
        with (folder / "problems").open("w") as problems:
            child = subprocess.Popen(
                [sys.executable, str(_CHILD), str(path), *left],
                env=variables, stdout=problems, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                yield from _answers(child, path, left)
            finally:
                if child.poll() is None:
                    child.kill()
                child.wait()
        if left and child.returncode != NOT_NEW:
            words = (folder / "problems").read_text().strip().splitlines()[-1:] or [""]
            yield left.pop(0), f"the process ended with {child.returncode}: {words[0][:200]}"


def _answers(child, path, left):
    with path.open() as lines:
        text = ""
        while left:
            over = child.poll() is not None
            text += lines.read()
            *whole, text = text.split("\n")
            for line in map(json.loads, whole):
                assert line.pop("name") == left[0]
                yield left.pop(0), _figures(line)
            if over:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.05)


def _figures(line):
    if "error" in line:
        return line["error"]
    return Figures(
        cold=tuple(line["cold"]), steady=tuple(line["steady"]), sizes=_rounded(line["sizes"])
    )


def traced(step) -> Figures | str:
    """What the tracer says of the same step, or why it refuses it."""
    step.prepare()
    # When Python collects depends on what ran before, and what waits for it is held until then.
    collects = gc.isenabled()
    gc.disable()
    try:
        found = ffprof.estimate(step.build, steps=2, workspaces="all")
    except UsageError as error:
        return error.problem
    finally:
        if collects:
            gc.enable()
    sizes = (found.stream.allocations[n].nbytes for n in found.stream.events if n >= 0)
    return Figures(
        cold=(found.cold_allocated_peak_bytes, found.cold_reserved_peak_bytes),
        steady=(found.allocated_peak_bytes, found.reserved_peak_bytes),
        sizes=_rounded(sizes),
    )


@contextmanager
def fast_weights():
    """What weights begin with is no matter here, and drawing it on the host takes the most time."""
    names = [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]
    before = {name: getattr(nn.init, name) for name in names}
    for name in names:
        setattr(nn.init, name, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(nn.init, name, function)


def _rounded(sizes):
    """As blocks are: multiples of 512 bytes."""
    return tuple(-(-size // 512) * 512 for size in sizes if size > 0)
