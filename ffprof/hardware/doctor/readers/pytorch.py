"""What torch says about itself and the GPU. Runs in a child; it may create a CUDA context."""

from __future__ import annotations

import ctypes
import importlib
import sys
from multiprocessing.connection import Connection
from typing import Any

from ffprof.hardware.doctor.facts import TorchFacts


def torch_child(sender: Connection) -> None:
    """Send the ``TorchFacts``; that torch cannot be imported is left to become a crash."""
    sender.send(read_torch())


def ready_child(sender: Connection) -> None:
    """Send true: how long that takes is how long a trial takes to start."""
    sender.send(True)


def read_torch() -> TorchFacts:
    """Ask torch; call it in a child only."""
    import torch

    version = str(torch.__version__)
    build = torch.version.cuda and str(torch.version.cuda)
    threads = torch.get_num_threads()
    torchvision = _torchvision_problem()
    try:
        # Unlike is_available(), this says why not.
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return TorchFacts(
            version=version,
            cuda_build=build,
            threads=threads,
            torchvision_problem=torchvision,
            reason=first_line(error),
            libcuda_problem=_libcuda_problem(),
        )
    kernel = _kernel_problem(torch)
    free, total = (None, None) if kernel else torch.cuda.mem_get_info(0)
    properties = torch.cuda.get_device_properties(0)
    return TorchFacts(
        version=version,
        cuda_build=build,
        threads=threads,
        torchvision_problem=torchvision,
        cuda=True,
        kernel_problem=kernel,
        gpu=properties.name,
        gpu_uuid=f"GPU-{properties.uuid}",
        free_bytes=free,
        total_bytes=total,
    )


def first_line(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _torchvision_problem() -> str:
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        return first_line(error)
    return ""


def _libcuda_problem() -> str:
    if sys.platform != "linux":
        return ""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return first_line(error)
    return ""


def _kernel_problem(torch: Any) -> str:
    """A build without kernels for this GPU, or a GPU that is taken, fails here and not before."""
    try:
        torch.ones(8, device="cuda").add_(1).sum().item()
    except RuntimeError as error:
        return first_line(error)
    return ""
