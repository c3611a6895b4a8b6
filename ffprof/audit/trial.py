"""One trial: what happens inside the child process, from flags to figures.

The timeline, left to right; the parent sleeps through it, but for NVML at 10 Hz on a GPU::

    process  flags  build   warm-up          settle  timed               untimed passes   report
    |--------|------|-------|----------------|-------|-------------------|----------------|---->
                            |                |       |                   |                |
                            first loss       1 step  n steps             last losses      exit
                            w steps:                 one optimizer step  live tensors; saved
                            autotuning,              each, B images,     tensors; checks of
                            optimizer state          transfer included   ffprof.audit.honesty
    allocator peaks:        |<--- cold ----->|<--------- steady -------->|
    host peak (VmHWM):                       |<--------- steady -------->| (reset if allowed)
    clock:                                           start  lap .. lap   device idle

- w: at least ``warmup_steps`` and two optimizer steps, then until two steps in a row differ by
  less than a tenth, at most ``MAX_WARMUP``.
- settle: the first step after the marks are lowered is a tenth slower than the rest.
- n: ``steps``, or fewer if the time box is full, but never fewer than ``min_steps``.
- The device is idle at every bar around the timed phase. Losses are written to a buffer that
  exists beforehand, so that reading them costs nothing there and no memory moves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ffprof.audit.data import Batches, cut, make_batches
from ffprof.audit.facts import gather_facts
from ffprof.audit.figures import loss_figures, memory_figures
from ffprof.audit.honesty import check_every_image_counts, check_step
from ffprof.audit.messages import Report
from ffprof.audit.passes import present_tensors, tensor_passes, tensors_beside
from ffprof.audit.step import Part, build_step
from ffprof.errors import RefusedError
from ffprof.hardware.flags import apply_flags, flag_changes, read_flags
from ffprof.instruments.allocator import Allocator, CudaAllocator, NullAllocator
from ffprof.instruments.clock import Clock, CudaClock, WallClock
from ffprof.instruments.host_memory import HostMemory, ProcessHostMemory
from ffprof.recipe import Recipe
from ffprof.record import Conditions, Throughput
from ffprof.workload import Description

MAX_WARMUP = 12
STEADY = 0.1  # two warm-up steps within a tenth of each other


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """What a trial reads."""

    clock: Clock
    allocator: Allocator
    host: HostMemory


def instruments_for(device_type: str) -> Instruments:
    """The real instruments of a device type."""
    if device_type == "cuda":
        return Instruments(clock=CudaClock(), allocator=CudaAllocator(), host=ProcessHostMemory())
    return Instruments(
        clock=WallClock(),
        allocator=NullAllocator("the CPU allocator keeps no statistics"),
        host=ProcessHostMemory(),
    )


def measure(
    description: Description,
    recipe: Recipe,
    device: torch.device,
    instruments: Instruments | None = None,
) -> Report:
    """Run one workload through the timeline above, in this process.

    Raises:
        RefusedError: the workload does not keep to what the recipe fixes.
        torch.OutOfMemoryError: it does not fit.
    """
    tools = instruments or instruments_for(device.type)
    apply_flags(recipe)
    flags = read_flags()
    load_before = os.getloadavg()[0]
    batches = make_batches(recipe, device.type)
    known = present_tensors(device.type)
    built = build_step(description, recipe, device)
    module, step, update = built.module, built.step, built.update
    micro = description.micro_batch(recipe)
    losses = torch.zeros(MAX_WARMUP + recipe.warmup_steps + 1 + recipe.steps, device=device)
    feed = _Feed(batches, micro)

    warm = _warm_up(step, feed, losses, recipe, device)
    cold = tools.allocator.read()
    tools.allocator.reset_peak()
    host_reset = tools.host.reset_peak()

    taken = _timed(step, feed, losses, recipe, tools.clock, len(warm))
    laps = tools.clock.laps()
    steady, host_peak = tools.allocator.read(), tools.host.peak_bytes()
    wait, skipped = feed.wait_seconds, update.skipped_steps()

    held = tensors_beside(device.type, [*known, *batches.held()])
    parts = feed.next()  # on the host, so outside of what is counted
    untimed = tensor_passes(step, parts, device.type, held, list(module.parameters()))
    observed = check_step(module, step, parts, recipe)
    check_every_image_counts(module, step, parts[0])
    changes = flag_changes(flags)
    if changes:
        raise RefusedError(
            f"it changes process-wide switches ({changes})", "leave them to the recipe"
        )
    return Report(
        memory=memory_figures(cold, steady, host_peak, untimed, module, update),
        throughput=Throughput(
            images_per_second=recipe.batch * taken / sum(laps),
            step_seconds=tuple(laps),
            data_wait_seconds=wait,
            warmup_step_seconds=tuple(warm),
        ),
        loss=loss_figures(losses[: recipe.warmup_steps + 1 + min(recipe.min_steps, taken)]),
        conditions=Conditions(
            threads=torch.get_num_threads(),
            load_average_start=load_before,
            load_average_end=os.getloadavg()[0],
            host_peak_reset=host_reset,
            skipped_optimizer_steps=skipped,
        ),
        facts=gather_facts(description, recipe, module, batches, built.matched, observed, flags),
    )


class _Feed:
    """Hands out the parts of one effective batch after the other, and times the waiting."""

    def __init__(self, batches: Batches, micro_batch: int) -> None:
        self._batches, self._micro_batch = batches, micro_batch
        self._number = 0
        self.wait_seconds = 0.0

    def next(self) -> list[Part]:
        started = time.perf_counter()
        parts = cut(*self._batches.batch(self._number), self._micro_batch)
        self._number += 1
        self.wait_seconds += time.perf_counter() - started
        return parts


def _warm_up(
    step: Callable[[list[Part]], Tensor],
    feed: _Feed,
    losses: Tensor,
    recipe: Recipe,
    device: torch.device,
) -> list[float]:
    taken: list[float] = []
    while not _is_warm(taken, recipe.warmup_steps):
        started = time.perf_counter()
        losses[len(taken)] = step(feed.next())
        _wait(device)
        taken.append(time.perf_counter() - started)
    return taken


def _is_warm(taken: list[float], least: int) -> bool:
    if len(taken) < max(2, least):
        return False
    slow, fast = max(taken[-2:]), min(taken[-2:])
    return len(taken) >= max(MAX_WARMUP, least) or slow - fast <= STEADY * fast


def _timed(
    step: Callable[[list[Part]], Tensor],
    feed: _Feed,
    losses: Tensor,
    recipe: Recipe,
    clock: Clock,
    offset: int,
) -> int:
    losses[offset] = step(feed.next())  # the first step after the reset of peaks is slow
    taken = 0
    feed.wait_seconds = 0.0
    clock.start()
    while taken < recipe.steps and (
        taken < recipe.min_steps or clock.elapsed() < recipe.step_box_seconds
    ):
        losses[offset + 1 + taken] = step(feed.next())
        clock.lap()
        taken += 1
    return taken


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
