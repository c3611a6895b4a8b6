"""What this process takes of the GPU in addition to PyTorch's allocator: context, kernels,
libraries.

Read inside the measured process, at moments that are not timed.
"""

from __future__ import annotations

import contextlib
import os
from typing import Protocol

import psutil

from ffprof.instruments.nvml import NvmlError, NvmlGpu, open_gpu
from ffprof.records.trial import DebitSource


class DebitMeter(Protocol):
    """Says what is taken in addition to the allocator now, and how that was found out."""

    def read(self) -> tuple[int, DebitSource]:
        """(bytes, source) now."""


class CudaDebitMeter:
    """The process as NVML sees it less what the allocator has reserved.

    Where the driver hides the process (WSL, MIG, some containers), it is what is used on the
    device less what is reserved, which counts others too: the GPU should be otherwise empty.
    """

    def __init__(self, uuid: str) -> None:
        self._gpu: NvmlGpu | None = None
        with contextlib.suppress(NvmlError):  # the device's own figure is left, and is named
            self._gpu = open_gpu(uuid)

    def read(self) -> tuple[int, DebitSource]:
        """See ``DebitMeter``."""
        import torch

        torch.cuda.synchronize()
        reserved = torch.cuda.memory_reserved()
        seen = self._process()
        if seen is not None:
            return max(0, seen[0] - reserved), seen[1]
        free, total = torch.cuda.mem_get_info()
        return max(0, total - free - reserved), "free memory of the device"

    def _process(self) -> tuple[int, DebitSource] | None:
        if self._gpu is None:
            return None
        try:
            listed = self._gpu.sample().processes
        except NvmlError:
            return None
        known = {p.pid: p.used_bytes for p in listed or () if p.used_bytes is not None}
        if (own := known.get(os.getpid())) is not None:
            return own, "NVML, this process"
        if len(listed or ()) == 1 and len(known) == 1:
            ((pid, used),) = known.items()
            # In a container the driver may tell the host's numbers, which nobody has here.
            if not psutil.pid_exists(pid):
                return used, "NVML, the only process"
        return None

    def close(self) -> None:
        """Release NVML."""
        if self._gpu is not None:
            self._gpu.close()
            self._gpu = None


class ReplayedDebit:
    """Plays back readings; the last one repeats."""

    def __init__(self, *readings: int) -> None:
        self._readings = list(readings)

    def read(self) -> tuple[int, DebitSource]:
        """See ``DebitMeter``."""
        left = self._readings
        return (left.pop(0) if len(left) > 1 else left[0]), "NVML, this process"
