"""A workload's optimizer steps traced as on a GPU, through the same harness as a trial's.

The module is built on the host and checked as in a trial, copied to fake tensors, moved to the
device that stands in for a GPU, and fed by the harness's own step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ffprof.estimator.stream import Operator, Stream
from ffprof.estimator.tracing.device import STAND_IN, fake_copy
from ffprof.estimator.tracing.trace import trace, tracing, try_other_numbers
from ffprof.hardware.flags import apply_flags, read_flags
from ffprof.harness.conformance import Observed, share
from ffprof.harness.data.batches import DIGITS_TRAINING, cut, make_batches
from ffprof.harness.ledger import flops_facts, gather_facts
from ffprof.harness.optimizer import make_update
from ffprof.harness.step import TrainingStep, build_module
from ffprof.harness.timeline import loss_buffer
from ffprof.harness.user_step import own_facts
from ffprof.instruments.operators import Counted, add_up
from ffprof.records.audit import Fact
from ffprof.records.recipe import FILE_DATA, Recipe
from ffprof.workload import Description
from ffprof.workload.user_file import StepDescription

STEPS = 2  # the optimizer makes its state in the first
SETTLING = 2  # micro-batches of the steps before the last: the second finds gradients there
PART = "micro-batch"
# More micro-batches than these repeat: gradients exist from the second on, and the sum of losses
# from the third. Whether the last two were alike is checked; if not, all are traced.
MICRO_BATCHES = 4


@dataclass(frozen=True, kw_only=True)
class TracedWorkload:
    """The stream of a build and two steps, and what the ledger is told."""

    stream: Stream
    facts: dict[str, Fact]
    images: int

    def operators(self) -> dict[str, int]:
        """How often each operator runs in the last step, by name."""
        return add_up((o.name, o.times) for o in last_step(self.stream))


def trace_workload(description: Description, recipe: Recipe) -> TracedWorkload:
    """Trace a workload under a recipe.

    Raises:
        RefusedError: the workload does not keep to what the recipe fixes.
        UsageError: its step cannot be traced soundly.
    """
    apply_flags(recipe)
    if isinstance(description, StepDescription):
        return _own_step(description, recipe)
    module, matched = build_module(description, recipe, torch.device("cpu"))
    traced = _traced(module, description, recipe, MICRO_BATCHES)
    if traced is None:
        traced = _traced(module, description, recipe, recipe.batch)
    assert traced is not None
    stream, observed = traced
    facts = gather_facts(
        description, recipe, module, _epoch(recipe), matched, observed, read_flags()
    )
    return TracedWorkload(stream=stream, facts={**facts, **_flops(stream)}, images=recipe.batch)


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
    module: Any, description: Description, recipe: Recipe, most: int
) -> tuple[Stream, Observed] | None:
    """None if there are more micro-batches than ``most`` and the last traced ones differ."""
    with tracing() as tracer:
        fake = fake_copy(module)
        fake.to(STAND_IN)
        tracer.name(fake)
        loss_buffer(recipe, recipe.warmup_steps, STAND_IN)
        update = make_update(fake, recipe, STAND_IN.type, in_backward=description.steps_in_backward)
        step = TrainingStep(fake, update, recipe, STAND_IN)
        shape = (recipe.batch, recipe.channels, recipe.image_size, recipe.image_size)
        images, labels = torch.empty(shape), torch.empty(recipe.batch, dtype=torch.int64)
        parts = cut(images, labels, description.micro_batch(recipe))
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
                    # A trial gives back what is cached before its steady phase.
                    tracer.stream.emptied.append(len(tracer.stream.events))
                with tracer.step(number):
                    step(fed if number == STEPS - 1 else fed[:SETTLING])
            try_other_numbers(tracer, lambda: step(fed))
    stream = tracer.stream
    left = len(parts) - len(fed)
    if left and not _repeat(stream, left):
        return None
    return stream, seen()


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
    if one != other or not alike:
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


def _own_step(description: StepDescription, recipe: Recipe) -> TracedWorkload:
    build: Any = description.load()
    torch.manual_seed(recipe.seed)
    stream = trace(build, steps=STEPS)
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
