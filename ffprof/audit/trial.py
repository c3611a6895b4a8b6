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

- w: at least ``warmup_steps``, two, and as many optimizer steps as batches may have been loaded
  ahead, then until two steps in a row differ by less than a tenth, at most ``MAX_WARMUP``.
- Loader workers begin before the build and end before the untimed passes.
- settle: the first step after the marks are lowered is a tenth slower than the rest.
- n: ``steps``, or fewer if the time box is full, but never fewer than ``min_steps``.
- The device is idle at every bar around the timed phase. Losses are written to a buffer that
  exists beforehand, so that reading them costs nothing there and no memory moves.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from ffprof.audit.data import Batches, cut, make_batches
from ffprof.audit.facts import flops_facts, gather_facts
from ffprof.audit.figures import breakdown, loss_figures, memory_figures
from ffprof.audit.honesty import check_every_image_counts, check_step
from ffprof.audit.messages import Report
from ffprof.audit.passes import present_tensors, tensor_passes, tensors_beside
from ffprof.audit.step import Part, TrainingStep, build_step
from ffprof.audit.timeline import Instruments, instruments_for, run_timeline
from ffprof.errors import RefusedError
from ffprof.hardware.flags import apply_flags, flag_changes, read_flags
from ffprof.instruments.clock import Clock
from ffprof.records.recipe import Recipe
from ffprof.workload import Description


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
