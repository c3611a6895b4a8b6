"""The environment that trial processes start under: what torch reads before Python can set it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ffprof.records.recipe import Recipe

# Both spellings: the second has replaced the first, which torch still honours. Without the third,
# memory would not go through the allocator that is watched and held.
ALLOCATOR_VARIABLES = (
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
)
# They change what is measured: waiting after every kernel, the recipe's TF32, how much memory
# kernels take.
_CUDA_VARIABLES = ("CUDA_LAUNCH_BLOCKING", "NVIDIA_TF32_OVERRIDE", "CUDA_MODULE_LOADING")

# What OpenMP's threads do while they wait for each other: by default they spin for a while. libgomp
# reads it when it is loaded, with torch.
WAITING, SLEEP = "OMP_WAIT_POLICY", "PASSIVE"


def child_environment(recipe: Recipe) -> dict[str, str | None]:
    """Environment variables that trial processes start under; None means removed."""
    wanted: dict[str, str | None] = dict.fromkeys(ALLOCATOR_VARIABLES + _CUDA_VARIABLES)
    if recipe.flags.allocator_conf:
        wanted["PYTORCH_ALLOC_CONF"] = recipe.flags.allocator_conf
    if recipe.flags.deterministic:
        wanted["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    # NumPy's BLAS starts threads when it is imported, and a server that forks must have none.
    # PyTorch's own thread count is the recipe's.
    wanted["OPENBLAS_NUM_THREADS"] = "1"
    # glibc gives freed memory back to the kernel and faults it in again, more or less often by the
    # order of frees: that was worth a sixth of the speed of some rows. PyTorch's CUDA allocator
    # keeps what it has, so the host's is told to.
    wanted["MALLOC_TRIM_THRESHOLD_"] = wanted["MALLOC_MMAP_THRESHOLD_"] = str(1 << 30)
    return wanted


@contextmanager
def environment(wanted: dict[str, str | None]) -> Iterator[None]:
    """Set or remove variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
