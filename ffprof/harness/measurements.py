"""Untimed passes over one effective batch, and readings of instruments as figures of the record."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ffprof.harness.optimizer import Update
from ffprof.harness.step import Part
from ffprof.harness.timeline import MemoryReadings
from ffprof.instruments.operators import Counted, FlopCounter, OperatorCounter
from ffprof.instruments.tensors import LiveTensors, SavedTensors
from ffprof.records.audit import Loss, Memory
from ffprof.workload import Trainable


@dataclass(frozen=True, kw_only=True)
class Untimed:
    """Peaks in bytes, or None with the reason; the operators that count as FLOPs; and counts.

    ``counts`` says how often each operator ran, by name.
    """

    live_peak_bytes: int | None
    saved_peak_bytes: int | None
    live_reason: str = ""
    saved_reason: str = ""
    operators: tuple[Counted, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


def present_tensors(device_type: str) -> list[Tensor]:
    """All plain tensors on a device type that Python knows of."""
    gc.collect()
    # Asking the type, not the object: proxies would be woken by isinstance.
    found = [thing for thing in gc.get_objects() if type(thing) in (Tensor, torch.nn.Parameter)]
    return [t for t in found if t.layout == torch.strided and t.device.type == device_type]


def tensors_beside(device_type: str, known: Sequence[Tensor]) -> list[Tensor]:
    """All present tensors that share no storage with ``known``: what is held between steps.

    Parameters, buffers, optimizer state, and whatever else a workload keeps. ``known`` must be
    kept alive until here, or its addresses may have been used again.
    """
    addresses = {t.untyped_storage()._cdata for t in known}
    return [t for t in present_tensors(device_type) if t.untyped_storage()._cdata not in addresses]


def tensor_passes(
    step: Callable[[Sequence[Part]], object],
    parts: Sequence[Part],
    device_type: str,
    held: list[Tensor],
    parameters: list[Tensor],
) -> Untimed:
    """Two optimizer steps under watch; what does not fit then is unread, not a failed trial."""
    try:
        counter = OperatorCounter(device_type)
        with LiveTensors(device_type, held) as live, FlopCounter() as flops, counter:
            step(parts)
        held.clear()
        with SavedTensors(parameters) as saved:
            step(parts)
    except torch.OutOfMemoryError:
        reason = "the instrumented step ran out of memory, the timed ones did not"
        return Untimed(
            live_peak_bytes=None, saved_peak_bytes=None, live_reason=reason, saved_reason=reason
        )
    uncounted = f"tensors without a plain storage: {live.uncounted}" if live.uncounted else ""
    hidden = "the workload saves tensors in its own way" if saved.hidden else ""
    return Untimed(
        live_peak_bytes=None if uncounted else live.peak_bytes,
        saved_peak_bytes=None if hidden else saved.peak_bytes,
        live_reason=uncounted,
        saved_reason=hidden,
        operators=tuple(flops.operators),
        counts=counter.counts(),
    )


LAST_LOSSES = 5  # the last loss is the mean over so many steps


def breakdown(module: Trainable, update: Update) -> dict[str, int]:
    """What a module and its optimizer hold between steps, in bytes by kind."""
    return {
        "parameters_bytes": sum(p.nbytes for p in module.parameters()),
        "buffers_bytes": sum(b.nbytes for b in module.buffers()),
        "optimizer_state_bytes": sum(t.nbytes for t in update.state_tensors()),
    }


def memory_figures(read: MemoryReadings, untimed: Untimed, held: dict[str, int]) -> Memory:
    """The memory part of a trial; what the allocator does not give is unread, with the reason."""
    cold, steady, unread = read.cold, read.steady, {}
    if steady.reason:
        for name in ("allocated", "reserved", "cold_allocated", "cold_reserved"):
            unread[f"{name}_peak_bytes"] = steady.reason
    if untimed.live_peak_bytes is None:
        unread["live_tensor_peak_bytes"] = untimed.live_reason
    saved = {"saved_for_backward_peak_bytes": untimed.saved_peak_bytes or 0}
    if untimed.saved_peak_bytes is None:
        saved = {}
        unread["saved_for_backward_peak_bytes"] = untimed.saved_reason
    if read.host_peak is None:
        unread["host_peak_bytes"] = "the system reports no high-water mark"
    return Memory(
        allocated_peak_bytes=steady.allocated_peak_bytes,
        reserved_peak_bytes=steady.reserved_peak_bytes,
        cold_allocated_peak_bytes=cold.allocated_peak_bytes,
        cold_reserved_peak_bytes=cold.reserved_peak_bytes,
        host_peak_bytes=read.host_peak,
        live_tensor_peak_bytes=untimed.live_peak_bytes,
        alloc_retries=steady.alloc_retries,
        oom_events=steady.oom_events,
        capped=None if steady.alloc_retries is None else steady.alloc_retries > 0,
        breakdown={**held, **saved},
        unread=unread,
    )


def loss_figures(losses: Tensor) -> Loss:
    """First loss, and the mean of the last few; losses (steps,), one a step from the first on.

    The harness hands over as many steps as every trial of the recipe takes, so that rows and
    rounds are at the same point of training.
    """
    values: list[float] = losses.cpu().double().tolist()
    first = values[0]
    tail = values[-min(LAST_LOSSES, max(1, len(values) // 2)) :]
    last = sum(tail) / len(tail)
    return Loss(
        first=first if math.isfinite(first) else None,
        last=last if math.isfinite(last) else None,
        finite=all(map(math.isfinite, values)),
        steps=len(values),
    )
