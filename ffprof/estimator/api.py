"""``ffprof.estimate``: the peak CUDA memory of any training step, without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

from ffprof.errors import UntraceableError, UsageError
from ffprof.estimator.allocator import AllocatorConfig, release_of
from ffprof.estimator.cuda.workspaces import WorkspaceModel, model_for
from ffprof.estimator.estimate import Estimate, from_stream
from ffprof.estimator.overhead import (
    ASSUMED_CAPABILITY,
    ASSUMED_CUDA,
    cuda_version,
    process_overhead,
)
from ffprof.estimator.stream import Convolution, Stream
from ffprof.hardware.cards import find_card
from ffprof.hardware.profile import Card

Workspaces = Literal["products", "all", "none"]

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
    workspaces: Workspaces = "all",
    card: str | None = None,
) -> Estimate:
    """What a training step takes of a GPU's memory, by the tracer (``ffprof.engine``).

    Nothing is computed: the step runs on tensors without memory, and what it requests is replayed
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
        workspaces: which are counted in the peaks. ``products``: what cuBLAS keeps for each
            thread, which is known. ``all``: cuDNN's for convolutions too, by a fitted model
            (docs/estimator.md) under the present ``torch.backends.cudnn`` switches. ``none``:
            tensors alone. ``Estimate.fit`` counts cuDNN's unless it is ``none``.
        card: the name of a profiled card (``ffprof cards``). It decides workspaces, the scratch of
            kernels, what the process takes beside them, and what ``Estimate.fit`` asks about.
            None is a card of compute capability 8.6 with 24 multiprocessors.

    Raises:
        UsageError: no such card, or an argument that cannot be meant.
        UntraceableError: the step cannot be traced soundly; the error names the line.
    """
    check_arguments(build, steps, capacity_bytes, allocator, card)
    if workspaces not in get_args(Workspaces):
        known = ", ".join(get_args(Workspaces))
        raise UsageError(f"workspaces={workspaces!r}", f"write one of {known}")
    settings = allocator_settings(allocator)
    found = None if card is None else find_card(card)
    import torch

    from ffprof.estimator.tracing.trace import trace

    capability = ASSUMED_CAPABILITY if found is None else found.compute_capability
    try:
        stream = trace(build, steps=steps, capability=capability)
    except UsageError as error:  # where it came from is in its one line
        raise UntraceableError(error.problem, error.fix) from None
    model = WorkspaceModel.none() if workspaces == "none" else _model(stream, found)
    return from_stream(
        stream,
        steps=steps,
        overhead=process_overhead(capability, cuda=_built_for()),
        config=AllocatorConfig.parse(settings, torch.__version__),
        workspaces=replace(model, convolutions=workspaces == "all"),
        capacity_bytes=capacity_bytes,
        card=found,
    )


def check_arguments(
    build: object, steps: object, capacity_bytes: object, allocator: object, card: object
) -> None:
    """Whether they are of the right types, for either engine.

    Raises:
        UsageError: one is not.
    """
    for name, value, kinds in (
        ("steps", steps, (int,)),
        ("capacity_bytes", capacity_bytes, (int, type(None))),
        ("allocator", allocator, (str,)),
        ("card", card, (str, type(None))),
    ):
        if not isinstance(value, kinds) or isinstance(value, bool):
            wanted = {"steps": "a whole number", "capacity_bytes": "a whole number of bytes"}
            raise UsageError(f"{name}={value!r}", f"give {wanted.get(name, 'a text')}")
    if not callable(build):
        raise UsageError(f"build is a {type(build).__name__}", "give a function build(device)")
    if isinstance(capacity_bytes, int) and capacity_bytes <= 0:
        raise UsageError(f"a capacity of {capacity_bytes} bytes", "give a positive number of bytes")


def _model(stream: Stream, card: Card | None) -> WorkspaceModel:
    """By the switches as the traced step left them."""
    import torch

    calls = (a.scratch for a in stream.allocations if isinstance(a.scratch, Convolution))
    sizes = {} if card is None else {"multiprocessors": card.sm_count}
    return model_for(
        ASSUMED_CAPABILITY if card is None else card.compute_capability,
        **sizes,
        half=any(call.element_bytes < 4 for call in calls),
        tf32=torch.backends.cudnn.allow_tf32,
        autotuned=torch.backends.cudnn.benchmark,
        release=release_of(torch.__version__),
    )


def _built_for() -> tuple[int, int]:
    """The CUDA version of the installed torch."""
    import torch

    try:
        return cuda_version(str(torch.version.cuda))
    except ValueError:
        return ASSUMED_CUDA
