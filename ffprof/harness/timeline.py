"""The part of a trial's timeline that all kinds of workloads share: warm-up, settling, timing.

It is drawn in ``ffprof.harness.trial``. All that it knows of a workload is a callable that takes
one optimizer step.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ffprof.harness.budget import NoBudget, Stepped
from ffprof.instruments.allocator import Allocator, AllocatorPeaks, CudaAllocator, NullAllocator
from ffprof.instruments.clock import Clock, CudaClock, WallClock
from ffprof.instruments.host_memory import HostMemory, ProcessHostMemory
from ffprof.records.audit import Conditions, Throughput
from ffprof.records.recipe import Recipe

MAX_WARMUP = 12
MOST_SKIPPED = 24  # of warm-up steps that loss scaling leaves out: 65536 is 2**16
STEADY = 0.1  # two warm-up steps within a tenth of each other


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """What a trial reads, and who is notified when the first whole step is over."""

    clock: Clock
    allocator: Allocator
    host: HostMemory
    budget: Stepped = field(default_factory=NoBudget)


def instruments_for(device_type: str, budget: Stepped | None = None) -> Instruments:
    """The real instruments of a device type."""
    if device_type == "cuda":
        return Instruments(
            clock=CudaClock(),
            allocator=CudaAllocator(),
            host=ProcessHostMemory(),
            budget=budget or NoBudget(),
        )
    return Instruments(
        clock=WallClock(),
        allocator=NullAllocator("the CPU allocator keeps no statistics"),
        host=ProcessHostMemory(),
    )


class Advance(Protocol):
    """Takes one optimizer step; returns its loss, a detached scalar, or None if it has none.

    ``tells_waiting`` says whether the clock is notified when a step has its data; ``ahead`` is how
    many steps' data may have been made beforehand; ``skipped`` tells how many optimizer steps loss
    scaling has left out so far, None where nothing is scaled. It may wait for the device.
    """

    tells_waiting: bool
    ahead: int

    def __call__(self) -> Tensor | float | None: ...  # noqa: D102

    def skipped(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class MemoryReadings:
    """Peaks before all is warm and afterwards, and the host's in bytes; None if it tells none."""

    cold: AllocatorPeaks
    steady: AllocatorPeaks
    host_peak: int | None


@dataclass(frozen=True, kw_only=True)
class Course(MemoryReadings):
    """What the instruments read on the way.

    ``timed`` is when the timed phase began and ended, in ``time.monotonic`` seconds, which are the
    same in all processes of a machine; the device was idle at both. ``losses`` are those of the
    first so many steps, the same number in all trials of a recipe; they are on the device. Steps
    without a loss leave a 0 there.
    """

    warm: tuple[float, ...]
    laps: tuple[float, ...]
    host_reset: bool
    wait_seconds: float | None
    timed: tuple[float, float]
    losses: Tensor

    def throughput(self, images: int) -> Throughput:
        """The speed at so many images a step."""
        return Throughput(
            images_per_second=images * len(self.laps) / sum(self.laps),
            step_seconds=self.laps,
            data_wait_seconds=self.wait_seconds,
            warmup_step_seconds=self.warm,
        )

    def conditions(self, load_before: float, skipped: int | None = None) -> Conditions:
        """How the trial was run.

        Args:
            load_before: the load average when it began.
            skipped: optimizer steps that loss scaling left out.
        """
        return Conditions(
            threads=torch.get_num_threads(),
            load_average_start=load_before,
            load_average_end=os.getloadavg()[0],
            host_peak_reset=self.host_reset,
            skipped_optimizer_steps=skipped,
        )


def loss_buffer(recipe: Recipe, least: int, device: torch.device) -> Tensor:
    """Room for the loss of every step, at ``least`` warm-up steps or more."""
    skipped = MOST_SKIPPED if recipe.precision == "fp16" else 0
    return torch.zeros(skipped + MAX_WARMUP + least + 1 + recipe.steps, device=device)


def run_timeline(
    advance: Advance, recipe: Recipe, device: torch.device, tools: Instruments
) -> Course:
    """Warm up, lower the high-water marks, settle, and time the steps."""
    # What was made ahead must be used up: the timed steps are fed at the loader's own pace.
    least = max(recipe.warmup_steps, advance.ahead)
    losses = loss_buffer(recipe, least, device)

    warm = _warm_up(advance, losses, least, device, tools.budget)
    cold = tools.allocator.read()
    tools.allocator.reset_peak()
    host_reset = tools.host.reset_peak()

    began, taken = _timed(advance, losses, recipe, tools.clock, len(warm))
    laps = tools.clock.laps()
    ended = time.monotonic()
    steady, host_peak = tools.allocator.read(), tools.host.peak_bytes()
    return Course(
        warm=tuple(warm),
        laps=tuple(laps),
        cold=cold,
        steady=steady,
        host_peak=host_peak,
        host_reset=host_reset,
        wait_seconds=tools.clock.waited() if advance.tells_waiting else None,
        timed=(began, ended),
        losses=losses[: recipe.warmup_steps + 1 + min(recipe.min_steps, taken)],
    )


def _warm_up(
    advance: Advance, losses: Tensor, least: int, device: torch.device, budget: Stepped
) -> list[float]:
    """Seconds of the steps. Steps that loss scaling left out come on top: they did less."""
    taken: list[float] = []
    skipped, whole = 0, False
    while not _is_warm(taken, least + skipped):
        started = time.perf_counter()
        _note(losses, len(taken), advance())
        wait_for(device)
        taken.append(time.perf_counter() - started)
        skipped = min(MOST_SKIPPED, advance.skipped() or 0)
        if len(taken) - skipped == 1 and not whole:
            whole = True  # the optimizer has its state
            budget.first_step()
    return taken


def _is_warm(taken: list[float], least: int) -> bool:
    if len(taken) < max(2, least):
        return False
    slow, fast = max(taken[-2:]), min(taken[-2:])
    return len(taken) >= max(MAX_WARMUP, least) or slow - fast <= STEADY * fast


def _timed(
    advance: Advance, losses: Tensor, recipe: Recipe, clock: Clock, offset: int
) -> tuple[float, int]:
    """When it began, on the monotonic clock, and how many steps were taken."""
    _note(losses, offset, advance())  # the first step after the reset of peaks is slow
    taken = 0
    clock.start()
    began = time.monotonic()
    while taken < recipe.steps and (
        taken < recipe.min_steps or clock.elapsed() < recipe.step_box_seconds
    ):
        _note(losses, offset + 1 + taken, advance())
        clock.lap()
        taken += 1
    return began, taken


def _note(losses: Tensor, index: int, loss: Tensor | float | None) -> None:
    if loss is not None:
        losses[index] = loss  # no value is read, so nothing waits for the device


def wait_for(device: torch.device) -> None:
    """Until a device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
