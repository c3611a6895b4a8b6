"""What commands of tests/gpu are given on a null device: fewer and smaller rows, that take seconds.

Kernels compute nothing there, so losses are zeros. Where one must fall, a workload whose loss the
host computes stands in (``host_loss``).
"""

from pathlib import Path

from ffprof.nulldevice import is_in_use

HOST_LOSS = ["--workload-file", Path(__file__).with_name("host_loss.py")]
ON_NULL = is_in_use()


def words(on_gpu, on_null):
    """Those that are meant for where this runs."""
    return on_null if ON_NULL else on_gpu
