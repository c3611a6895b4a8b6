"""The GPU as the driver sees it (NVML): memory, energy, clocks, processes.

A parent process samples, so that the measured one is left alone: ``open_gpu`` by UUID, a
``Watch`` for every child, ``disturbances`` of what it saw. Nothing is loaded on import.
"""

from ffprof.instruments.nvml.device import NvmlGpu, open_gpu
from ffprof.instruments.nvml.energy import PERIOD_SECONDS, idle_power
from ffprof.instruments.nvml.library import (
    DriverMismatchError,
    GpuLostError,
    GpuNotFoundError,
    NoPermissionError,
    NotSupportedError,
    NvmlError,
    NvmlMissingError,
)
from ffprof.instruments.nvml.monitor import GpuSource, Watch, disturbances
from ffprof.instruments.nvml.replay import NullGpu, ReplayedGpu
from ffprof.instruments.nvml.sample import DeviceFacts, GpuProcess, Sample

__all__ = [
    "PERIOD_SECONDS",
    "DeviceFacts",
    "DriverMismatchError",
    "GpuLostError",
    "GpuNotFoundError",
    "GpuProcess",
    "GpuSource",
    "NoPermissionError",
    "NotSupportedError",
    "NullGpu",
    "NvmlError",
    "NvmlGpu",
    "NvmlMissingError",
    "ReplayedGpu",
    "Sample",
    "Watch",
    "disturbances",
    "idle_power",
    "open_gpu",
]
