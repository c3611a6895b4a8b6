"""Trace a training step on tensors without memory, as it would run on CUDA or on this processor."""

from __future__ import annotations

import gc
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from ffprof.errors import UsageError
from ffprof.estimator.overhead import ASSUMED_CAPABILITY
from ffprof.estimator.stream import Stream
from ffprof.estimator.tracing.device import STAND_IN, FakeMode, check_version
from ffprof.estimator.tracing.kernels import CUDA, Kernels
from ffprof.estimator.tracing.modules import ModulePaths
from ffprof.estimator.tracing.queries import answered
from ffprof.estimator.tracing.refusals import refusing
from ffprof.estimator.tracing.tracer import BEGINS, Tracer
from ffprof.estimator.tracing.values import DataDependentError, Values

Step = Callable[[], object]
_ONE_AT_A_TIME = threading.RLock()
# What a number read from a tensor is, in addition to 1.0; logarithms and exponentials of them
# exist.
_OTHER_NUMBERS = (1e-6, 500.0)
_BY_A_NUMBER = "the step branches on a number read from a tensor"
Build = Callable[[torch.device], Step]


@contextmanager
def tracing(
    kernels: Kernels = CUDA, capability: tuple[int, int] = ASSUMED_CAPABILITY
) -> Iterator[Tracer]:
    """A context in which fake tensors stand in for a device's, and a tracer writes what they do.

    What is made in it counts as the build until ``Tracer.built`` is called. Of CUDA, a step that
    asks PyTorch which GPU there is, is told of one with this compute capability.

    Raises:
        UsageError: something cannot be traced soundly; the error names the line.
    """
    if kernels is CUDA:
        check_version()
    mode, values = FakeMode(), Values(for_gpu=kernels is CUDA)
    with ExitStack() as stack:
        # What is set in PyTorch while tracing holds for the whole process.
        stack.enter_context(_ONE_AT_A_TIME)
        stack.enter_context(_few_objects_to_look_through())
        stack.enter_context(refusing())
        # Whatever the caller has on: the step decides for itself.
        stack.enter_context(torch.enable_grad())
        if kernels is CUDA:
            stack.enter_context(_no_autocast())
            stack.enter_context(answered(capability))
        paths = stack.enter_context(ModulePaths())
        stack.enter_context(kernels.dispatched())
        stack.enter_context(mode)
        stack.enter_context(_parameters(mode))
        tracer = Tracer(kernels, mode, paths, values)
        stack.enter_context(_optimizers(tracer))
        stack.enter_context(tracer)
        stack.enter_context(values)
        yield tracer
        tracer.storages.closed = True
        for refusal in (values.refusal, mode.refusal):
            if refusal is not None:  # raised before, and caught by the step
                raise refusal
        layout = tracer.storages.uncounted
        if layout:
            raise UsageError(
                f"the step makes tensors of layout {layout}, whose memory is not known",
                "leave them out of the step that is estimated",
            )


def trace(
    build: Build, *, steps: int = 2, capability: tuple[int, int] = ASSUMED_CAPABILITY
) -> Stream:
    """The stream of ``build`` and of ``steps`` calls of the step that it returns.

    Args:
        build: makes model, data and optimizer on the device that it is given, and returns a
            callable without arguments that runs one training step.
        steps: at least 2, because the optimizer makes its state in the first.
        capability: of the GPU, should the step ask.

    Raises:
        UsageError: the step cannot be traced soundly; the error names the line.
    """
    if steps < 2:
        raise UsageError(
            f"{steps} steps: the optimizer makes its state in the first", "trace at least 2"
        )
    with tracing(capability=capability) as tracer:
        try:
            step = build(STAND_IN)
        except DataDependentError as error:
            raise UsageError(
                error.problem, "make the model on the host and move it: model.to(device)"
            ) from error
        if not callable(step):
            raise UsageError(
                f"build(device) returns a {type(step).__name__}, which cannot be called",
                "return a function without arguments that runs one training step",
            )
        tracer.built()
        for number in range(steps):
            with tracer.step(number):
                _check_result(step())
        try_other_numbers(tracer, step)
    return tracer.stream


def try_other_numbers(tracer: Tracer, step: Step) -> None:
    """If the step read numbers from tensors, see whether it requests the same memory with others.

    Raises:
        UsageError: it does not, or fails.
    """
    if not tracer.values.asked:
        return
    stream = tracer.stream
    began = next(place for place, name in reversed(stream.marks) if name.endswith(BEGINS))
    before = _asked_for(stream, began)
    for number in _OTHER_NUMBERS:
        tracer.values.number = number
        place = len(stream.events), len(stream.allocations), len(stream.operators)
        try:
            with muted():
                step()
        except (ArithmeticError, ValueError, IndexError) as error:
            raise DataDependentError(_BY_A_NUMBER) from error
        if _asked_for(stream, place[0]) != before:
            raise DataDependentError(_BY_A_NUMBER)
        stream.cut(*place)


@contextmanager
def muted() -> Iterator[None]:
    """What the user's code prints is not shown: it runs again, and nobody asked for that."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _asked_for(stream: Stream, start: int) -> list[tuple[int, str]]:
    numbers = (event for event in stream.events[start:] if event >= 0)
    return [(stream.allocations[n].nbytes, stream.allocations[n].operator) for n in numbers]


def _check_result(result: object) -> None:
    if inspect.isawaitable(result) or inspect.isgenerator(result):
        raise UsageError(
            f"the step returns a {type(result).__name__} and has done nothing yet",
            "return a plain function that runs one training step",
        )


@contextmanager
def _no_autocast() -> Iterator[None]:
    """As outside of every autocast context: in one, a step's own would keep its copied weights.

    The copies that autocast caches are let go where the outermost context ends, so contexts that
    the caller is in must not be counted.
    """
    before = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}
    cached = torch.is_autocast_cache_enabled()
    contexts = torch.autocast_increment_nesting() - 1
    for _ in range(contexts + 1):
        torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(True)
    for kind in before:
        torch.set_autocast_enabled(kind, False)
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        for kind, enabled in before.items():
            torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_cache_enabled(cached)
        for _ in range(contexts):
            torch.autocast_increment_nesting()


_frozen_before = False


@contextmanager
def _few_objects_to_look_through() -> Iterator[None]:
    """Collections pass over what was there before: the imports of torch are 400,000 objects."""
    global _frozen_before
    # Counting them takes a twentieth of a second, so it is done until there are some.
    _frozen_before = _frozen_before or gc.get_freeze_count() > 0
    if _frozen_before:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _parameters(mode: FakeMode) -> Iterator[None]:
    """Parameters are fake, small ones of the host as well, and so the same after ``.to(device)``.

    A module that moves puts new data into its parameters, which an optimizer may hold already; of a
    real tensor that cannot become fake, PyTorch makes a new parameter.
    """
    make = nn.Parameter.__new__

    def made(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        if type(data) is Tensor and data.device.type == "cpu":
            data = mode.from_tensor(data)
        return make(cls, data, requires_grad)

    nn.Parameter.__new__ = made  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Parameter.__new__ = make  # type: ignore[method-assign]


@contextmanager
def _optimizers(tracer: Tracer) -> Iterator[None]:
    """Tell the tracer what optimizers hold, and optimizers what CUDA would choose."""

    def begins(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if not isinstance(parameter, FakeTensor) and parameter.grad is None:
                    raise UsageError(
                        "an optimizer holds parameters that are not on the GPU",
                        "make the optimizer after the model was moved",
                    )
                tracer.storages.tag(parameter, "parameter")
                if parameter.grad is not None:
                    tracer.storages.tag(parameter.grad, "gradient")
        tracer.in_optimizer = True
        tracer.optimizer_task = torch._C._current_graph_task_id()
        tracer.optimizer_records = bool(optimizer.defaults.get("differentiable"))

    def ends(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        tracer.in_optimizer = False
        for parameter, state in optimizer.state.items():
            holder = tracer.holder(parameter)
            for value in state.values():
                tracer.storages.tag(value, "optimizer state", holder)

    handles = [register_optimizer_step_pre_hook(begins), register_optimizer_step_post_hook(ends)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
