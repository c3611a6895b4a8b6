"""PyTorch's CUDA caching allocator, through its statistics.

Four numbers that are often confused: *allocated* is what tensors requested, rounded up to the
allocator's blocks; *reserved* is what the allocator took from the driver; *process* and *device*
peaks are NVML's (``ffprof.instruments.nvml``) and contain context and libraries besides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class AllocatorPeaks:
    """Peaks since the last reset, in bytes, and event counts since the process began."""

    allocated_peak_bytes: int | None
    reserved_peak_bytes: int | None
    alloc_retries: int | None
    oom_events: int | None
    reason: str = ""


class Allocator(Protocol):
    """A memory counter with a high-water mark."""

    def reset_peak(self) -> None:
        """Lower the high-water marks to what is held now."""

    def read(self) -> AllocatorPeaks:
        """The marks; does not lower them."""


class CudaAllocator:
    """``torch.cuda.memory_stats`` of the current device."""

    def reset_peak(self) -> None:
        """See ``Allocator``."""
        import torch

        # Free what warm-up left behind: reserved memory falls only when it is freed.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def read(self) -> AllocatorPeaks:
        """See ``Allocator``."""
        import torch

        stats = torch.cuda.memory_stats()
        return AllocatorPeaks(
            allocated_peak_bytes=stats["allocated_bytes.all.peak"],
            reserved_peak_bytes=stats["reserved_bytes.all.peak"],
            alloc_retries=stats["num_alloc_retries"],
            oom_events=stats["num_ooms"],
        )


class NullAllocator:
    """A device whose allocator keeps no statistics: everything is unread, with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def reset_peak(self) -> None:
        """Nothing to reset."""

    def read(self) -> AllocatorPeaks:
        """Nothing, and why."""
        return AllocatorPeaks(
            allocated_peak_bytes=None,
            reserved_peak_bytes=None,
            alloc_retries=None,
            oom_events=None,
            reason=self._reason,
        )


class FakeAllocator:
    """Replays readings; for tests of whatever reads an allocator."""

    def __init__(self, readings: Iterable[AllocatorPeaks]) -> None:
        self._readings = iter(readings)
        self.resets = 0

    def reset_peak(self) -> None:
        """Counted in ``resets``."""
        self.resets += 1

    def read(self) -> AllocatorPeaks:
        """The next reading of the script."""
        return next(self._readings)
