"""One trial: what happens inside the child process, from flags to figures.

The timeline, left to right; the parent sleeps through it, but for NVML at 10 Hz on a GPU::

    process  flags  build   warm-up          settle  timed               untimed passes   report
    |--------|------|-------|----------------|-------|-------------------|----------------|---->
                            |                |       |                   |                |
                            first loss       1 step  n steps             last losses      exit
                            w steps:                 one optimizer step  live tensors; saved
                            autotuning,              each, B images,     tensors; checks of
                            optimizer state          transfer included   ffprof.harness.conformance
    allocator peaks:        |<--- cold ----->|<--------- steady -------->|
    host peak (VmHWM):                       |<--------- steady -------->| (reset if allowed)
    clock:                                           start  lap .. lap   device idle

- w: at least ``warmup_steps``, two, and as many optimizer steps as batches may have been loaded
  ahead, then until two steps in a row differ by less than a tenth, at most ``MAX_WARMUP``.
- Loader workers begin before the build and end before the untimed passes.
- settle: the first step after the marks are lowered is a tenth slower than the rest.
- n: ``steps``, or fewer if the time box is full, but never fewer than ``min_steps``.
- The device is idle at every bar around the timed phase. Losses are written to a buffer that
  exists beforehand, so that reading them costs nothing there and no memory moves.

A run that only requests memory (``measure_memory``) goes up to the settled steps and ends after two
of them, so its peaks are those of a trial; untimed passes and checks are left out. ``time_step``
takes two steps and times the second, for a forecast of what a trial will take.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torch import Tensor

from ffprof.errors import RefusedError
from ffprof.hardware.flags import apply_flags, flag_changes, read_flags
from ffprof.harness.conformance import check_every_image_counts, check_step
from ffprof.harness.data.batches import Batches, cut, make_batches
from ffprof.harness.ledger import flops_facts, gather_facts
from ffprof.harness.measurements import (
    Untimed,
    breakdown,
    loss_figures,
    memory_figures,
    present_tensors,
    tensor_passes,
    tensors_beside,
)
from ffprof.harness.process.messages import Report, StepTime
from ffprof.harness.step import Part, TrainingStep, build_step
from ffprof.harness.timeline import Instruments, instruments_for, run_timeline, wait_for
from ffprof.harness.user_step import OwnStep
from ffprof.instruments.clock import Clock
from ffprof.records.audit import Memory
from ffprof.records.recipe import Recipe
from ffprof.workload import Description
from ffprof.workload.step import StepDescription


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
    batches.start()
    known = present_tensors(device.type)
    built = build_step(description, recipe, device)
    module, step, update = built.module, built.step, built.update
    micro = description.micro_batch(recipe)
    feed = Feed(step, batches, micro, tools.clock)
    course = run_timeline(feed, recipe, device, tools)
    skipped = update.skipped_steps()
    batches.stop()

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
        memory=memory_figures(course, untimed, breakdown(module, update)),
        throughput=course.throughput(recipe.batch),
        loss=loss_figures(course.losses),
        conditions=course.conditions(load_before, skipped),
        facts=gather_facts(
            description, recipe, module, batches.epoch_images, built.matched, observed, flags
        )
        | flops_facts(untimed.operators),
        operators=untimed.counts,
        timed=course.timed,
        images=recipe.batch * len(course.laps),
    )


class Feed:
    """Takes one optimizer step after the other over the recipe's batches, and tells the clock."""

    tells_waiting = True

    def __init__(
        self, step: TrainingStep, batches: Batches, micro_batch: int, clock: Clock
    ) -> None:
        self._step, self._batches, self._micro_batch = step, batches, micro_batch
        self._clock, self._number = clock, 0
        self.ahead = batches.ahead

    def __call__(self) -> Tensor:
        """One optimizer step."""
        return self._step(self.next())

    def skipped(self) -> int | None:
        """Optimizer steps that loss scaling has left out so far."""
        return self._step.update.skipped_steps()

    def next(self) -> list[Part]:
        """The parts of the next effective batch, on the host."""
        parts = cut(*self._batches.batch(self._number), self._micro_batch)
        self._number += 1
        self._clock.fed()
        return parts


STEPS = 2  # after warm-up and the settling step
_UNWATCHED = "a short run: only what the allocator tells"


def measure_memory(
    description: Description, recipe: Recipe, device: torch.device, tools: Instruments
) -> Memory:
    """The allocator's peaks of one workload, in this process.

    Raises:
        RefusedError: the workload cannot be built, or its step is none.
        torch.OutOfMemoryError: it does not fit.
    """
    apply_flags(recipe)
    short = recipe.model_copy(update={"steps": STEPS, "min_steps": STEPS})
    unwatched = Untimed(
        live_peak_bytes=None,
        saved_peak_bytes=None,
        live_reason=_UNWATCHED,
        saved_reason=_UNWATCHED,
    )
    if isinstance(description, StepDescription):
        build: Any = description.load()
        torch.manual_seed(recipe.seed)
        own = OwnStep(build(device))
        return memory_figures(run_timeline(own, short, device, tools), unwatched, {})
    batches = make_batches(short, device.type)
    batches.start()
    built = build_step(description, short, device)
    feed = Feed(built.step, batches, description.micro_batch(short), tools.clock)
    course = run_timeline(feed, short, device, tools)
    batches.stop()
    return memory_figures(course, unwatched, breakdown(built.module, built.update))


def time_step(description: Description, recipe: Recipe, device: torch.device) -> StepTime:
    """How long the second optimizer step takes, in this process.

    Raises:
        RefusedError: the workload does not keep to what the recipe fixes.
        torch.OutOfMemoryError: it does not fit.
    """
    clock = instruments_for(device.type).clock
    began = time.perf_counter()
    apply_flags(recipe)
    batches = make_batches(recipe, device.type)
    batches.start()
    try:
        built = build_step(description, recipe, device)
        feed = Feed(built.step, batches, description.micro_batch(recipe), clock)
        feed()
        wait_for(device)
        warm = time.perf_counter()
        feed()
        wait_for(device)
        ended = time.perf_counter()
    finally:
        batches.stop()
    return StepTime(step_seconds=ended - warm, before_seconds=warm - began)
