"""GPU memory as the driver sees it: per process and per device, sampled from the parent.

Sampling from the parent keeps the trial's own process free of it. The GPU is found by its UUID,
because CUDA and NVML number devices differently.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

PERIOD_SECONDS = 0.1  # 10 Hz at most: more would disturb what is measured


class NvmlUnavailableError(Exception):
    """NVML cannot be asked, and why."""


@dataclass(frozen=True, kw_only=True)
class GpuSample:
    """Used bytes at one moment; a process figure may be hidden by containers, WSL or MIG."""

    device_used_bytes: int
    process_used_bytes: int | None


class GpuMemory(Protocol):
    """Where samples come from."""

    def sample(self, pid: int) -> GpuSample:
        """Used bytes now.

        Raises:
            NvmlUnavailableError: the driver does not say.
        """


class NvmlGpuMemory:
    """The real NVML, through the ``pynvml`` module of nvidia-ml-py.

    Raises:
        NvmlUnavailableError: no driver, or no GPU with this UUID.
    """

    def __init__(self, uuid: str) -> None:
        import pynvml

        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NvmlUnavailableError(f"NVML: {error}") from error
        try:
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError as error:
            pynvml.nvmlShutdown()
            raise NvmlUnavailableError(f"NVML: {error}") from error

    def sample(self, pid: int) -> GpuSample:
        """See ``GpuMemory``."""
        try:
            used = int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)
        except self._nvml.NVMLError as error:
            raise NvmlUnavailableError(f"NVML: {error}") from error
        return GpuSample(device_used_bytes=used, process_used_bytes=self._process(pid))

    def _process(self, pid: int) -> int | None:
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError:
            return None  # the device figure stands alone; the caller says why
        for process in processes:
            if process.pid == pid and process.usedGpuMemory is not None:
                return int(process.usedGpuMemory)
        return None

    def close(self) -> None:
        """Release the library."""
        self._nvml.nvmlShutdown()


class ReplayedGpuMemory:
    """Plays back samples; the last one repeats."""

    def __init__(self, samples: Iterable[GpuSample]) -> None:
        self._samples = list(samples)

    def sample(self, pid: int) -> GpuSample:
        """See ``GpuMemory``."""
        return self._samples.pop(0) if len(self._samples) > 1 else self._samples[0]

    def close(self) -> None:
        """Nothing to release."""


class PeakSampler:
    """Keeps the peaks of a source for one process."""

    def __init__(self, source: GpuMemory, pid: int) -> None:
        self._source, self._pid = source, pid
        self.samples = 0
        self.device_peak_bytes: int | None = None
        self.process_peak_bytes: int | None = None
        self.reason = ""

    def take(self) -> None:
        """Take one sample; a failure is remembered as the reason, and sampling may go on."""
        try:
            seen = self._source.sample(self._pid)
        except NvmlUnavailableError as error:
            self.reason = str(error)
            return
        self.samples += 1
        self.device_peak_bytes = max(self.device_peak_bytes or 0, seen.device_used_bytes)
        if seen.process_used_bytes is not None:
            self.process_peak_bytes = max(self.process_peak_bytes or 0, seen.process_used_bytes)

    def process_reason(self) -> str:
        """Why there is no process figure, or nothing."""
        if self.process_peak_bytes is not None:
            return ""
        if self.reason:
            return self.reason
        return "NVML does not show this process (container, WSL or MIG)"
