"""One trial: what happens inside the child process, from flags to figures.

The timeline, left to right; the parent sleeps through it, but for NVML at 10 Hz on a GPU::

    process  flags  build   warm-up           timed                untimed passes        report
    |--------|------|-------|-----------------|--------------------|---------------------|----->
                            |                 |                    |                     |
                            first loss        |                    last losses           exit
                            step 0 .. w-1     step w .. w+n-1      live tensors (1 step)
                            autotuning,       one optimizer step   saved tensors (1 step)
                            optimizer state   each, B images,
                                              transfer included
    allocator peaks:        |<--- cold ------>|<----- steady ----->|
    host peak (VmHWM):                        |<----- steady ----->|   (reset where allowed)
    clock:                                    start  lap lap .. lap  device idle

- w: at least ``warmup_steps`` and two optimizer steps, then until two steps in a row differ by
  less than a tenth, at most ``MAX_WARMUP``.
- n: ``steps``, or fewer if the time box is full, but never fewer than ``min_steps``.
- The device is idle at every bar around the timed phase. Losses are written to a buffer that
  exists beforehand, so that reading them costs nothing there and no memory moves.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ffprof.audit.data import Batches, cut, make_batches
from ffprof.audit.facts import gather_facts
from ffprof.audit.matching import build_matched
from ffprof.audit.messages import Report
from ffprof.record import Conditions, Loss, Memory, Throughput
from ffprof.audit.step import Part, TrainingStep, make_optimizer, set_norm_momentum
from ffprof.errors import RefusedError
from ffprof.hardware.flags import apply_flags, read_flags
from ffprof.instruments.allocator import Allocator, AllocatorPeaks, CudaAllocator, NullAllocator
from ffprof.instruments.clock import Clock, CudaClock, WallClock
from ffprof.instruments.host_memory import HostMemory, ProcessHostMemory
from ffprof.instruments.live_tensors import LiveTensors
from ffprof.instruments.saved_tensors import SavedTensors
from ffprof.recipe import Recipe
from ffprof.workload import Description, Trainable

MAX_WARMUP = 12
STEADY = 0.1  # two warm-up steps within a tenth of each other
LAST_LOSSES = 5  # the last loss is the mean over so many steps


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """What a trial reads."""

    clock: Clock
    allocator: Allocator
    host: HostMemory


def instruments_for(device_type: str) -> Instruments:
    """The real instruments of a device type."""
    if device_type == "cuda":
        return Instruments(
            clock=CudaClock(), allocator=CudaAllocator(), host=ProcessHostMemory()
        )
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
    module, matched = build_matched(description, recipe)
    module.to(device=device, memory_format=_format(recipe))
    module.train()
    micro = description.micro_batch(recipe)
    set_norm_momentum(module, recipe.batch // micro)
    optimizer = make_optimizer(module, recipe.optimizer)
    step = TrainingStep(module, optimizer, recipe, device)
    losses = torch.zeros(MAX_WARMUP + recipe.warmup_steps + recipe.steps, device=device)
    feed = _Feed(batches, micro)

    warm = _warm_up(step, feed, losses, recipe, device)
    cold = tools.allocator.read()
    tools.allocator.reset_peak()
    host_reset = tools.host.reset_peak()

    taken = _timed(step, feed, losses, recipe, tools.clock, len(warm))
    laps = tools.clock.laps()
    steady, host_peak = tools.allocator.read(), tools.host.peak_bytes()
    wait = feed.wait_seconds

    held = [*_held(module, optimizer), losses]
    parts = feed.next()  # on the host, so outside of what is counted
    with LiveTensors(device.type, held) as live:
        step(parts)
    with SavedTensors(module.parameters()) as saved:
        step(parts)
    if read_flags() != flags:
        raise RefusedError(
            f"it changes process-wide switches ({_changed(flags, read_flags())})",
            "leave them to the recipe",
        )
    return Report(
        memory=_memory(cold, steady, host_peak, live.peak_bytes, saved.peak_bytes, module, optimizer),
        throughput=Throughput(
            images_per_second=recipe.batch * taken / sum(laps),
            step_seconds=tuple(laps),
            data_wait_seconds=wait,
            warmup_step_seconds=tuple(warm),
        ),
        loss=_loss(losses[: len(warm) + taken]),
        conditions=Conditions(
            threads=torch.get_num_threads(),
            load_average_start=load_before,
            load_average_end=os.getloadavg()[0],
            host_peak_reset=host_reset,
        ),
        facts=gather_facts(description, recipe, module, batches, matched, flags),
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
    feed.wait_seconds = 0.0
    taken = 0
    clock.start()
    while taken < recipe.steps and (
        taken < recipe.min_steps or clock.elapsed() < recipe.step_box_seconds
    ):
        losses[offset + taken] = step(feed.next())
        clock.lap()
        taken += 1
    return taken


def _held(module: Trainable, optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
    yield from _state(optimizer)


def _state(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))


def _memory(
    cold: AllocatorPeaks,
    steady: AllocatorPeaks,
    host_peak: int | None,
    live_peak: int,
    saved_peak: int,
    module: Trainable,
    optimizer: torch.optim.Optimizer,
) -> Memory:
    unread = {}
    if steady.reason:
        for name in ("allocated", "reserved", "cold_allocated", "cold_reserved"):
            unread[f"{name}_peak_bytes"] = steady.reason
    if host_peak is None:
        unread["host_peak_bytes"] = "the system gives no high-water mark"
    return Memory(
        allocated_peak_bytes=steady.allocated_peak_bytes,
        reserved_peak_bytes=steady.reserved_peak_bytes,
        cold_allocated_peak_bytes=cold.allocated_peak_bytes,
        cold_reserved_peak_bytes=cold.reserved_peak_bytes,
        host_peak_bytes=host_peak,
        live_tensor_peak_bytes=live_peak,
        alloc_retries=steady.alloc_retries,
        oom_events=steady.oom_events,
        capped=None if steady.alloc_retries is None else steady.alloc_retries > 0,
        breakdown={
            "parameters_bytes": sum(p.nbytes for p in module.parameters()),
            "buffers_bytes": sum(b.nbytes for b in module.buffers()),
            "optimizer_state_bytes": sum(t.nbytes for t in _state(optimizer)),
            "saved_for_backward_peak_bytes": saved_peak,
        },
        unread=unread,
    )


def _loss(losses: Tensor) -> Loss:
    values: list[float] = losses.double().tolist()
    first = values[0]
    tail = values[-min(LAST_LOSSES, max(1, len(values) // 2)) :]
    last = sum(tail) / len(tail)
    return Loss(
        first=first if math.isfinite(first) else None,
        last=last if math.isfinite(last) else None,
        finite=all(map(math.isfinite, values)),
        steps=len(values),
    )


def _format(recipe: Recipe) -> torch.memory_format:
    if recipe.memory_format == "channels_last":
        return torch.channels_last
    return torch.preserve_format


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _changed(before: dict[str, str | int | bool], after: dict[str, str | int | bool]) -> str:
    return ", ".join(f"{k}: {before[k]} -> {after[k]}" for k in before if before[k] != after[k])
