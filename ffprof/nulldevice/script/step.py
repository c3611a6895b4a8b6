"""A training step that was written as a function: taken so many times in a process of its own.

    python -m ffprof.nulldevice.script.step FILE

FILE is a pickle of ``Carried`` (``write_step`` wrote it). The process is watched as a script is,
but for one thing: a step is a call, whatever optimizers do in it. The first steps are cold, the
last is steady, as for the tracer.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Carried:
    """``build(device)`` as pickled bytes, and where its modules are looked for."""

    build: bytes
    path: tuple[str, ...]
    steps: int


def write_step(build: bytes, steps: int, path: Path) -> None:
    """For this module's process, which finds the modules that this one does."""
    carried = Carried(build=build, path=tuple(sys.path), steps=steps)
    path.write_bytes(pickle.dumps(vars(carried)))


def take_steps(path: Path) -> None:
    """Build, and take the steps; the watch tells what they took."""
    import torch

    from ffprof.nulldevice.script.watch import Watch

    carried = Carried(**pickle.loads(path.read_bytes()))
    sys.path[:] = carried.path
    build: Callable[[Any], Callable[[], object]] = pickle.loads(carried.build)
    watch = Watch.here
    if watch is None:
        raise RuntimeError("this process is not watched")
    watch.count_calls()
    step = build(torch.device("cuda"))
    if not callable(step):
        raise TypeError(
            f"build(device) returned {type(step).__name__}, not a function without arguments"
        )
    watch.begin_steps()
    for _ in range(carried.steps):
        step()
        watch.end_step()


if __name__ == "__main__":
    take_steps(Path(sys.argv[1]))
