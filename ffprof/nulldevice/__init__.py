"""A CUDA device that is not there, on which PyTorch's own CUDA build runs (docs/null_device.md).

A library that is loaded before CUDA's own counts memory and answers calls; kernels do nothing.
Nothing here imports torch: ``environment`` gives the variables for a child that does.
"""

from ffprof.nulldevice.build import library
from ffprof.nulldevice.description import NullDevice, environment, is_in_use
from ffprof.nulldevice.report import DeviceReport, read_report

__all__ = ["DeviceReport", "NullDevice", "environment", "is_in_use", "library", "read_report"]
