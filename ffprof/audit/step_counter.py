"""Counts what one optimizer step on fake tensors holds and does, micro-batch by micro-batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ffprof.audit.work import Convolution, Work
from ffprof.instruments.operators import flops_of
from ffprof.instruments.tensors import LiveTensors

# Fake tensors ask this of themselves; real ones never do.
_ASKS_DEVICE = torch.ops.prim.device.default


@dataclass(kw_only=True)
class PartSeen:
    """What was seen of one micro-batch, from the workload's begin to its end."""

    work_before: Work
    live_before: int
    live_after: int = 0
    peak: int = 0
    work: Work = field(default_factory=Work)

    def repeats(self, other: PartSeen) -> bool:
        """Whether it did and held the same as another one."""
        return (self.live_before, self.live_after, self.peak, self.work) == (
            other.live_before,
            other.live_after,
            other.peak,
            other.work,
        )


class StepCounter(LiveTensors):
    """Live tensors as in a trial, and the work of every operator beside."""

    def __init__(self, device_type: str, held: Iterable[Tensor]) -> None:
        super().__init__(device_type, held)
        self.work = Work()
        self.parts: list[PartSeen] = []
        self.highest_bytes = 0
        self.heaviest: Convolution | None = None

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if not func.is_view and func is not _ASKS_DEVICE:
            self._note(func, args, kwargs or {}, result)
        return result

    def part_begins(self) -> None:
        """The peak is counted anew for every part, and the highest kept."""
        self._mark()
        self.parts.append(PartSeen(work_before=self.work, live_before=self.live_bytes))

    def part_ends(self) -> None:
        """See ``part_begins``."""
        part = self.parts[-1]
        part.peak, part.live_after = self.peak_bytes, self.live_bytes
        part.work = self.work.minus(part.work_before)
        self._mark()

    def ends(self) -> None:
        """The step is over."""
        self._mark()

    def _mark(self) -> None:
        self.highest_bytes = max(self.highest_bytes, self.peak_bytes)
        self.peak_bytes = self.live_bytes

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        flops = flops_of(func, args, kwargs, result)
        if not flops:
            touched = sum(_nbytes(leaf) for leaf in tree_leaves((args, kwargs, result)))
            self.work = self.work.plus(Work(operators=1, touched_bytes=touched))
            return
        self.work = self.work.plus(Work(operators=1, flops=flops))
        if func is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, dilation, _, _, groups = args
            if self.heaviest is None or flops > self.heaviest.flops:
                self.heaviest = Convolution(
                    flops=flops,
                    input=tuple(x.shape),
                    weight=tuple(weight.shape),
                    stride=tuple(stride),
                    padding=tuple(padding),
                    dilation=tuple(dilation),
                    groups=groups,
                )


def _nbytes(leaf: Any) -> int:
    return leaf.numel() * leaf.element_size() if isinstance(leaf, Tensor) else 0
