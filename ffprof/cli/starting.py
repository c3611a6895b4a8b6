"""What a new audit and one that is gone on with start alike: the server, the probe, trials."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext

from ffprof.errors import DeviceError
from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.machine import Probe
from ffprof.harness.process.calls import ask_child
from ffprof.harness.process.child import start_context
from ffprof.harness.worker import probe_child
from ffprof.records.audit import Device
from ffprof.records.recipe import Recipe

# Of a dry run's children: what a workload file imports from beside it is not compiled to a file.
_TRACELESS: dict[str, str | None] = {"PYTHONDONTWRITEBYTECODE": "1"}


def say(text: str) -> None:
    """One line of progress, beside the output."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def started(recipe: Recipe, *, dry_run: bool) -> Iterator[tuple[BaseContext, Probe]]:
    """The server that children are forked from, and what torch finds, asked of a child.

    The server keeps the environment that it is started in, so it starts in that of the trials,
    which lasts as long as this context.

    Raises:
        DeviceError: torch cannot be started.
    """
    if sys.stderr.isatty():
        say("starting PyTorch ...")
    wanted = child_environment(recipe)
    with environment({**wanted, **_TRACELESS} if dry_run else wanted):
        server = start_context("forkserver")
        found, reason = ask_child(server, probe_child, Probe)
        if found is None:
            raise DeviceError(
                f"torch cannot be started ({reason})", "ffprof doctor says what to do"
            )
        yield server, found


def trial_context(server: BaseContext, device: Device) -> BaseContext:
    """How trials are started: forking a server that has imported torch is unproved with CUDA."""
    return server if device == "cpu" else start_context("spawn")
