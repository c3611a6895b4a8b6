"""Untimed passes over one effective batch: what is live and saved, and which operators run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ffprof.audit.step import Part
from ffprof.instruments.operators import Counted, FlopCounter, OperatorCounter
from ffprof.instruments.tensors import LiveTensors, SavedTensors


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
        reason = "the watched step ran out of memory, the timed ones did not"
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
