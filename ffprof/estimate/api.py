"""``ffprof.estimate``: the peak CUDA memory of any training step, without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ffprof.errors import UsageError
from ffprof.estimate.allocator import AllocatorConfig
from ffprof.estimate.process import (
    ASSUMED_CAPABILITY,
    ASSUMED_CUDA,
    cuda_version,
    process_overhead,
)
from ffprof.estimate.result import Estimate, from_stream
from ffprof.estimate.workspaces import WorkspaceModel

_SHORT = {"default": "", "expandable_segments": "expandable_segments:True"}


def allocator_settings(words: str) -> str:
    """``default`` and ``expandable_segments`` as PYTORCH_ALLOC_CONF writes them; others as are.

    Raises:
        UsageError: they are not settings, or not simulated.
    """
    text = _SHORT.get(words, words)
    AllocatorConfig.parse(text)
    return text


def estimate(
    build: Callable[[Any], Callable[[], object]],
    steps: int = 2,
    capacity_bytes: int | None = None,
    allocator: str = "default",
    *,
    workspaces: bool = True,
) -> Estimate:
    """What a training step takes of a GPU's memory, found out without one.

    Nothing is computed: the step runs on tensors without memory, and what it asks for is replayed
    through a simulation of PyTorch's caching allocator.

    Args:
        build: called once as ``build(device)``; makes model, data and optimizer on that device and
            returns a callable without arguments that runs one training step.
        steps: how many are traced, at least 2: the optimizer makes its state in the first. Peaks
            are those of the last.
        capacity_bytes: what the allocator may take in all; None is without a limit. Where that is
            too little, ``ran_out`` is true and peaks are those up to there. Whether it fits a
            card is for ``Estimate.fit`` to say.
        allocator: ``default``, ``expandable_segments``, or what PYTORCH_ALLOC_CONF takes.
        workspaces: whether those of cuBLAS and cuDNN are counted.

    Returns:
        the estimate; its process range is that of a card of compute capability 8.6.

    Raises:
        UsageError: the step cannot be traced soundly; the error names the line.
    """
    config = AllocatorConfig.parse(allocator_settings(allocator))
    if capacity_bytes is not None and capacity_bytes <= 0:
        raise UsageError(f"a capacity of {capacity_bytes} bytes", "give a positive number of bytes")
    from ffprof.estimate.trace import trace

    return from_stream(
        trace(build, steps=steps),
        steps=steps,
        overhead=process_overhead(ASSUMED_CAPABILITY, cuda=_built_for()),
        config=config,
        workspaces=None if workspaces else WorkspaceModel.none(),
        capacity_bytes=capacity_bytes,
    )


def _built_for() -> tuple[int, int]:
    """The CUDA version of the installed torch."""
    import torch

    try:
        return cuda_version(str(torch.version.cuda))
    except ValueError:
        return ASSUMED_CUDA
