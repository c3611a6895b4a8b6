"""A workload's optimizer steps traced as on a GPU or here, through the same harness as a trial's.

The module is built on the host and checked as in a trial, copied to fake tensors, moved to the
device that is traced, and fed by the harness's own step. Traced on this processor, the most bytes
alive at once are the peak of live tensors that a trial measures here, to the byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ffprof.errors import UsageError
from ffprof.estimator.estimate import last_step as last_mark
from ffprof.estimator.overhead import ASSUMED_CAPABILITY
from ffprof.estimator.replay import mark_position
from ffprof.estimator.stream import Operator, Stream
from ffprof.estimator.tracing.device import HOST, STAND_IN, fake_copy, fake_tensors
from ffprof.estimator.tracing.kernels import CUDA, Kernels
from ffprof.estimator.tracing.storages import Place
from ffprof.estimator.tracing.trace import Build, trace, tracing, try_other_numbers
from ffprof.estimator.tracing.tracer import Tracer
from ffprof.hardware.flags import apply_flags, read_flags
from ffprof.harness.conformance import Observed, share
from ffprof.harness.data.batches import cut, make_batches
from ffprof.harness.data.digits import DIGITS_TRAINING
from ffprof.harness.ledger import flops_facts, gather_facts
from ffprof.harness.measurements import present_tensors, tensors_beside
from ffprof.harness.optimizer import make_update
from ffprof.harness.step import TrainingStep, build_module
from ffprof.harness.timeline import loss_buffer
from ffprof.harness.user_step import own_facts
from ffprof.instruments.operators import Counted, add_up
from ffprof.records.audit import Fact
from ffprof.records.recipe import FILE_DATA, Recipe
from ffprof.workload import Description
from ffprof.workload.step import StepDescription

STEPS = 2  # the optimizer makes its state in the first
SETTLING = 2  # micro-batches of the steps before the last: the second finds gradients there
PART = "micro-batch"
# More micro-batches than these repeat: gradients exist from the second on, and the sum of losses
# from the third. Whether the last two were alike is checked; if not, all are traced.
MICRO_BATCHES = 4


@dataclass(frozen=True, kw_only=True)
class TracedWorkload:
    """The stream of a build and two steps, and what the ledger is given.

    ``build_seconds`` is what building the module on the host took.
    """

    stream: Stream
    facts: dict[str, Fact]
    images: int
    build_seconds: float = 0.0

    @property
    def live_peak_bytes(self) -> int:
        """The most bytes of tensors alive at once in the last step."""
        start, now, most = mark_position(self.stream, last_mark(STEPS)), 0, 0
        for position, live in self.stream.live():
            most = max(most, now, live) if position >= start else 0
            now = live
        return most

    def operators(self) -> dict[str, int]:
        """How often each operator runs in the last step, by name."""
        return add_up((o.name, o.times) for o in last_step(self.stream))


def trace_workload(
    description: Description,
    recipe: Recipe,
    kernels: Kernels = CUDA,
    capability: tuple[int, int] = ASSUMED_CAPABILITY,
) -> TracedWorkload:
    """Trace a workload under a recipe, on a GPU that need not be there or on the processor.

    ``capability`` is what the GPU says to a step of the user's own that asks.

    Raises:
        RefusedError: the workload does not keep to what the recipe fixes.
        UsageError: its step cannot be traced soundly.
    """
    apply_flags(recipe)
    if isinstance(description, StepDescription):
        step = description  # of another type for the closure
        return trace_step(lambda device: step.build(recipe, device), step, recipe, capability)
    on_host = kernels.device == HOST
    known = present_tensors(HOST.type) if on_host else []
    began = time.perf_counter()
    module, matched = build_module(description, recipe, HOST)
    built = time.perf_counter() - began
    own = _bytes(tensors_beside(HOST.type, known)) if on_host else 0
    traced = _traced(module, description, recipe, kernels, own, MICRO_BATCHES)
    if traced is None:
        traced = _traced(module, description, recipe, kernels, own, recipe.batch)
    assert traced is not None
    stream, observed = traced
    facts = gather_facts(
        description, recipe, module, _epoch(recipe), matched, observed, read_flags()
    )
    return TracedWorkload(
        stream=stream,
        facts={**facts, **_flops(stream)},
        images=recipe.batch,
        build_seconds=built,
    )


def _flops(stream: Stream) -> dict[str, Fact]:
    return flops_facts(
        Counted(
            name=o.name,
            passing="forward" if o.phase == "optimizer" else o.phase,  # type: ignore[arg-type]
            recorded=o.recorded,
            flops=o.flops,
            times=o.times,
        )
        for o in last_step(stream)
    )


def last_step(stream: Stream) -> list[Operator]:
    """The operators of the last step."""
    return stream.operators[_places(stream, stream.operator_marks)[0] :]


def _traced(
    module: Any, description: Description, recipe: Recipe, kernels: Kernels, own: int, most: int
) -> tuple[Stream, Observed] | None:
    """None if there are more micro-batches than ``most`` and the last traced ones differ.

    ``own`` is how many bytes of tensors the build left.
    """
    device = kernels.device
    with tracing(kernels) as tracer:
        before = fake_tensors() if device == HOST else []  # of another trace
        fake = fake_copy(module)
        fake.to(device)
        if device == HOST:
            _count(tracer, before, own)
        tracer.name(fake)
        losses = [loss_buffer(recipe, recipe.warmup_steps, device)]
        if device == STAND_IN:
            losses.clear()  # the estimates that were compared with a GPU's are without it
        update = make_update(fake, recipe, device.type, in_backward=description.steps_in_backward)
        step = TrainingStep(fake, update, recipe, device)
        shape = (recipe.batch, recipe.channels, recipe.image_size, recipe.image_size)
        images, labels = torch.empty(shape), torch.empty(recipe.batch, dtype=torch.int64)
        parts = cut(images, labels, description.micro_batch(recipe))
        for tensor in (images, labels):
            tracer.storages.leave_out(tensor)  # a trial counts what it holds but the batch
        tracer.built()
        fed = parts[:most]
        feed = step.feed

        def watched(images: Tensor, labels: Tensor) -> Tensor:
            tracer.stream.mark(PART)
            return feed(images, labels)

        step.feed = watched  # type: ignore[method-assign]
        with _observing(fake) as seen:
            for number in range(STEPS):
                if number == STEPS - 1:
                    # A trial frees what is cached before its steady phase.
                    tracer.stream.emptied.append(len(tracer.stream.events))
                with tracer.step(number):
                    step(fed if number == STEPS - 1 else fed[:SETTLING])
            try_other_numbers(tracer, lambda: step(fed))
    stream = tracer.stream
    left = len(parts) - len(fed)
    if left and not _repeat(stream, left):
        return None
    return stream, seen()


def _count(tracer: Tracer, before: Sequence[Tensor], own: int) -> None:
    """Count what the copy holds; copying is not seen.

    Raises:
        UsageError: the build left other tensors than those.
    """
    others = {t.untyped_storage()._cdata for t in before}
    held = [t for t in fake_tensors() if t.untyped_storage()._cdata not in others]
    if _bytes(held) != own:
        raise UsageError("it keeps tensors outside of its module", "make them attributes of it")
    for tensor in held:
        tracer.storages.see(tensor, Place(), "other")


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum({s._cdata: s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())


def _places(stream: Stream, marks: list[tuple[int, str]]) -> list[int]:
    """Where the last step begins, then its micro-batches."""
    start = next(i for i in reversed(range(len(marks))) if marks[i][1].startswith("step "))
    start = next(i for i in reversed(range(start)) if marks[i][1].startswith("step "))
    return [place for place, name in marks[start:] if not name.endswith("ends")]


def _repeat(stream: Stream, left: int) -> bool:
    """Count the last traced micro-batch ``left`` times more, if it is like the one before."""
    events, operators = _places(stream, stream.marks), _places(stream, stream.operator_marks)
    end = events[-1] + (events[-1] - events[-2])
    one, other = (
        [_signature(stream, e) for e in stream.events[a:b]]
        for a, b in ((events[-2], events[-1]), (events[-1], end))
    )
    before, last = (
        (operators[-2], operators[-1]),
        (operators[-1], 2 * operators[-1] - operators[-2]),
    )
    alike = [_kind(o) for o in stream.operators[slice(*before)]] == [
        _kind(o) for o in stream.operators[slice(*last)]
    ]
    # What stays of every micro-batch would grow with their number.
    grown = sum(nbytes if made else -nbytes for made, nbytes, _ in one)
    if one != other or not alike or grown:
        return False
    for index in range(*last):
        stream.operators[index] = replace(stream.operators[index], times=1 + left)
    return True


def _signature(stream: Stream, event: int) -> tuple[bool, int, str]:
    allocation = stream.allocations[event if event >= 0 else ~event]
    return event >= 0, allocation.nbytes, allocation.operator


def _kind(operator: Operator) -> tuple[str, int, int]:
    return operator.name, operator.flops, operator.touched_bytes


@contextmanager
def _observing(module: Any) -> Iterator[Callable[[], Observed]]:
    """What a checked step of a trial would see of a module while it trains."""
    layouts: list[bool] = []
    trained: dict[int, int] = {}
    last = torch.channels_last
    handles: list[Any] = [
        part.register_forward_pre_hook(
            lambda _, x: layouts.append(x[0].is_contiguous(memory_format=last))
        )
        for part in module.modules()
        if isinstance(part, nn.Conv2d)
    ]
    for parameter in module.parameters():
        if parameter.requires_grad:
            handles.append(
                parameter.register_post_accumulate_grad_hook(
                    lambda p: trained.__setitem__(id(p), p.numel())
                )
            )

    def seen() -> Observed:
        return Observed(
            trained_parameters=sum(trained.values()),
            convolutions_channels_last=share(layouts),
            parameter_dtypes=", ".join(sorted({str(p.dtype)[6:] for p in module.parameters()})),
        )

    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def trace_step(
    build: Build,
    description: StepDescription,
    recipe: Recipe,
    capability: tuple[int, int] = ASSUMED_CAPABILITY,
) -> TracedWorkload:
    """Trace what a step's ``build`` makes, or what a change makes of it.

    Raises:
        UsageError: the step cannot be traced soundly.
    """
    torch.manual_seed(recipe.seed)
    stream = trace(build, steps=STEPS, capability=capability)
    # In float32; a stream knows bytes, not types.
    held = sum(a.nbytes // 4 for a in stream.allocations if a.category == "parameter")
    facts = own_facts(description, recipe, held)
    return TracedWorkload(
        stream=stream,
        facts={**facts, **_flops(stream)},
        images=description.micro_batch(recipe),
    )


def _epoch(recipe: Recipe) -> int | None:
    if recipe.data in FILE_DATA:
        return make_batches(recipe, "cpu").epoch_images
    return DIGITS_TRAINING if recipe.data == "digits" else None
