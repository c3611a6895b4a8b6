"""One run of a workload in a child of its own, watched on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import Any

from ffprof.hardware.memory_limit import Hold
from ffprof.harness.process.child import Ending, run_child
from ffprof.harness.process.guard import Guard
from ffprof.harness.process.messages import Failed, Probed
from ffprof.harness.process.monitor import GpuGoneError, Watching
from ffprof.harness.worker import memory_child, trial_child
from ffprof.records.audit import Device, Uncapped
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import address


def take(
    context: BaseContext,
    description: Description,
    recipe: Recipe,
    device: Device,
    limit_seconds: float,
    *,
    hold: Hold | None = None,
    guard: Guard | None = None,
) -> tuple[Ending, Watching]:
    """Measure a workload once; what becomes of it is for ``ffprof.audit.trials`` to say.

    ``hold`` and ``guard`` are those of the GPU, None on a CPU.
    """
    arguments = (address(description), recipe, device, hold)
    return _watched(context, trial_child, arguments, limit_seconds, guard, gpu=device == "cuda")


def probe(
    context: BaseContext,
    description: Description,
    recipe: Recipe,
    hold: Hold,
    limit_seconds: float,
    guard: Guard | None = None,
    *,
    child: Callable[..., None] | None = None,
) -> tuple[Ending, Watching]:
    """Run a workload on the GPU for its memory alone: a ``Probed``, or what kept it from that.

    ``child`` is ``memory_child``, or what stands for it.
    """
    arguments = (address(description), recipe, hold)
    return _watched(context, child or memory_child, arguments, limit_seconds, guard, gpu=True)


def _watched(
    context: BaseContext,
    child: Callable[..., None],
    arguments: tuple[Any, ...],
    limit_seconds: float,
    guard: Guard | None,
    *,
    gpu: bool,
) -> tuple[Ending, Watching]:
    """Run a child; one that does not end by itself when its GPU is gone has crashed."""
    watching = Watching(guard)
    try:
        ending = run_child(
            context,
            child,
            arguments,
            limit_seconds,
            on_message=watching.on_message,
            tick=watching.take if gpu else None,
        )
    except GpuGoneError as error:
        ending = Ending(kind="crashed", messages=(), reason=str(error))
    return ending, watching


def uncapped_from(ending: Ending, watching: Watching) -> Uncapped:
    """What a run without a limit found, or why it found nothing."""
    for message in ending.messages:
        if isinstance(message, Probed):
            return Uncapped(memory=watching.memory(message.memory), debit=message.debit)
    failed = next((m.message for m in ending.messages if isinstance(m, Failed)), ending.reason)
    return Uncapped(message=failed[:1000] or "no answer")
