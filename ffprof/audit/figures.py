"""From readings of instruments to the figures of the record."""

from __future__ import annotations

import math

from torch import Tensor

from ffprof.audit.passes import Untimed
from ffprof.audit.timeline import Course
from ffprof.audit.update import Update
from ffprof.records.audit import Loss, Memory
from ffprof.workload import Trainable

LAST_LOSSES = 5  # the last loss is the mean over so many steps


def breakdown(module: Trainable, update: Update) -> dict[str, int]:
    """What a module and its optimizer hold between steps, in bytes by kind."""
    return {
        "parameters_bytes": sum(p.nbytes for p in module.parameters()),
        "buffers_bytes": sum(b.nbytes for b in module.buffers()),
        "optimizer_state_bytes": sum(t.nbytes for t in update.state_tensors()),
    }


def memory_figures(course: Course, untimed: Untimed, held: dict[str, int]) -> Memory:
    """The memory part of a trial; what the allocator does not give is unread, with the reason."""
    cold, steady, unread = course.cold, course.steady, {}
    if steady.reason:
        for name in ("allocated", "reserved", "cold_allocated", "cold_reserved"):
            unread[f"{name}_peak_bytes"] = steady.reason
    if untimed.live_peak_bytes is None:
        unread["live_tensor_peak_bytes"] = untimed.live_reason
    saved = {"saved_for_backward_peak_bytes": untimed.saved_peak_bytes or 0}
    if untimed.saved_peak_bytes is None:
        saved = {}
        unread["saved_for_backward_peak_bytes"] = untimed.saved_reason
    if course.host_peak is None:
        unread["host_peak_bytes"] = "the system gives no high-water mark"
    return Memory(
        allocated_peak_bytes=steady.allocated_peak_bytes,
        reserved_peak_bytes=steady.reserved_peak_bytes,
        cold_allocated_peak_bytes=cold.allocated_peak_bytes,
        cold_reserved_peak_bytes=cold.reserved_peak_bytes,
        host_peak_bytes=course.host_peak,
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
