"""Trace a training step on tensors without memory, as it would run on CUDA."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from ffprof.estimate.cuda_rules import as_on_cuda
from ffprof.estimate.module_paths import ModulePaths
from ffprof.estimate.refusals import refusing
from ffprof.estimate.standin import STAND_IN, check_version
from ffprof.estimate.stream import Stream
from ffprof.estimate.tracer import Tracer
from ffprof.estimate.values import Values

Step = Callable[[], object]
Build = Callable[[torch.device], Step]


def trace(build: Build, *, steps: int = 2, roots: Iterable[nn.Module] = ()) -> Stream:
    """The stream of ``build`` and of ``steps`` calls of the step that it returns.

    Args:
        build: makes model, data and optimizer on the device that it is given, and returns a
            callable without arguments that runs one training step.
        steps: at least 2, because the optimizer makes its state in the first.
        roots: modules that exist already, to be named by their paths.

    Raises:
        UsageError: the step cannot be traced soundly; the error names the line.
    """
    check_version()
    if steps < 2:
        raise ValueError("the optimizer makes its state in the first step: trace at least 2")
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with ExitStack() as stack:
        stack.enter_context(refusing())
        paths = stack.enter_context(ModulePaths(roots))
        stack.enter_context(as_on_cuda())
        stack.enter_context(mode)
        tracer = Tracer(mode, paths)
        stack.enter_context(_optimizers(tracer))
        stack.enter_context(tracer)
        stack.enter_context(Values())
        step = build(STAND_IN)
        tracer.building = False
        tracer.stream.mark("built")
        for number in range(steps):
            tracer.stream.mark(f"step {number} begins")
            step()
            tracer.stream.mark(f"step {number} ends")
    return tracer.stream


@contextmanager
def _optimizers(tracer: Tracer) -> Iterator[None]:
    """Tell the tracer what optimizers hold, and optimizers what CUDA would choose."""

    def begins(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                tracer.tag(parameter, "parameter")
                if parameter.grad is not None:
                    tracer.tag(parameter.grad, "gradient")
        tracer.in_optimizer = True

    def ends(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        tracer.in_optimizer = False
        for state in optimizer.state.values():
            for value in state.values():
                tracer.tag(value, "optimizer state")

    handles = [register_optimizer_step_pre_hook(begins), register_optimizer_step_post_hook(ends)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
