"""An optimizer step on fake tensors: what it would hold and do, without computing anything.

Fake tensors have shapes, types and storages of a size, but no memory. The workload is built on
the host as in a trial, its tensors are replaced by fake ones, and the harness's own step runs on
them, micro-batch by micro-batch, under the counter of live tensors that a trial uses. So the peak
is that of a trial, to the byte, and takes the same time at every image size.

What cannot be known in this way is not told: a step whose work depends on values, or a workload
that keeps tensors where they cannot be replaced.
"""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensor,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ffprof.estimator.host.work import Convolution, Traced, Unforecast, Work
from ffprof.harness.data.batches import cut
from ffprof.harness.measurements import present_tensors, tensors_beside
from ffprof.harness.optimizer import make_update
from ffprof.harness.step import Part, TrainingStep, build_module
from ffprof.harness.timeline import loss_buffer
from ffprof.instruments.operators import flops_of
from ffprof.instruments.tensors import LiveTensors
from ffprof.records.recipe import Recipe
from ffprof.workload import Description

# Fake tensors ask this of themselves; real ones never do.
_ASKS_DEVICE = torch.ops.prim.device.default


@dataclass(kw_only=True)
class PartSeen:
    """What was seen of one micro-batch, from the workload's begin to its end."""

    work_before: Work
    live_before: int
    live_after: int = 0
    peak: int = 0
    work: Work = field(default_factory=Work)

    def repeats(self, other: PartSeen) -> bool:
        """Whether it did and held the same as another one."""
        return (self.live_before, self.live_after, self.peak, self.work) == (
            other.live_before,
            other.live_after,
            other.peak,
            other.work,
        )


class StepCounter(LiveTensors):
    """Live tensors as in a trial, and the work of every operator beside."""

    def __init__(self, device_type: str, held: Iterable[Tensor]) -> None:
        super().__init__(device_type, held)
        self.work = Work()
        self.parts: list[PartSeen] = []
        self.highest_bytes = 0
        self.heaviest: Convolution | None = None

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if not func.is_view and func is not _ASKS_DEVICE:
            self._note(func, args, kwargs or {}, result)
        return result

    def part_begins(self) -> None:
        """The peak is counted anew for every part, and the highest kept."""
        self._mark()
        self.parts.append(PartSeen(work_before=self.work, live_before=self.live_bytes))

    def part_ends(self) -> None:
        """See ``part_begins``."""
        part = self.parts[-1]
        part.peak, part.live_after = self.peak_bytes, self.live_bytes
        part.work = self.work.minus(part.work_before)
        self._mark()

    def ends(self) -> None:
        """The step is over."""
        self._mark()

    def _mark(self) -> None:
        self.highest_bytes = max(self.highest_bytes, self.peak_bytes)
        self.peak_bytes = self.live_bytes

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        flops = flops_of(func, args, kwargs, result)
        if not flops:
            touched = sum(_nbytes(leaf) for leaf in tree_leaves((args, kwargs, result)))
            self.work = self.work.plus(Work(operators=1, touched_bytes=touched))
            return
        self.work = self.work.plus(Work(operators=1, flops=flops))
        if func is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, dilation, _, _, groups = args
            if self.heaviest is None or flops > self.heaviest.flops:
                self.heaviest = Convolution(
                    flops=flops,
                    input=tuple(x.shape),
                    weight=tuple(weight.shape),
                    stride=tuple(stride),
                    padding=tuple(padding),
                    dilation=tuple(dilation),
                    groups=groups,
                )


def _nbytes(leaf: Any) -> int:
    return leaf.numel() * leaf.element_size() if isinstance(leaf, Tensor) else 0


# More micro-batches than these repeat: gradients exist from the second on, and the sum of losses
# from the third. Whether the last two were alike is checked; if not, all are run.
MICRO_BATCHES = 4
SETTLING_STEPS = 2  # the optimizer makes its state in the first


def trace(description: Description, recipe: Recipe, device: torch.device) -> Traced | Unforecast:
    """The live-tensor peak and the work of one optimizer step after the first.

    Raises:
        RefusedError: the workload does not keep to what the recipe fixes.
    """
    began = time.perf_counter()
    known = present_tensors(device.type)
    # The update is made on the copy, which would not have its hooks.
    module, _ = build_module(description, recipe, device)
    built = time.perf_counter() - began
    mode = FakeTensorMode(allow_non_fake_inputs=False, allow_fallback_kernels=False)
    real = _bytes(tensors_beside(device.type, known))
    others = _fake_tensors(device.type)
    with FakeCopyMode(mode):
        module = copy.deepcopy(module)
    if _bytes(_beside(others, device.type)) != real:
        return Unforecast(reason="it keeps tensors outside of its module")
    try:
        with mode:
            return _steps(module, description, recipe, device, built, others)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        return Unforecast(reason=f"its work depends on the values of tensors ({error})"[:300])
    except UnsupportedOperatorException as error:
        return Unforecast(reason=f"{error} has no fake form"[:300])


def _steps(
    module: Any,
    description: Description,
    recipe: Recipe,
    device: torch.device,
    built: float,
    others: list[Tensor],
) -> Traced | Unforecast:
    losses = loss_buffer(recipe, recipe.warmup_steps, device)
    update = make_update(module, recipe, device.type, in_backward=description.steps_in_backward)
    step = TrainingStep(module, update, recipe, device)
    shape = (recipe.batch, recipe.channels, recipe.image_size, recipe.image_size)
    images, labels = torch.empty(shape), torch.empty(recipe.batch, dtype=torch.int64)
    parts = cut(images, labels, description.micro_batch(recipe))
    stage = _Stage(module)
    with stage:
        for _ in range(SETTLING_STEPS):
            losses[0] = step(parts[:1])
        others = [*others, images, labels]
        seen = _watched(step, parts[:MICRO_BATCHES], stage, others, device.type)
        work = seen.work
        if len(parts) > MICRO_BATCHES:
            if seen.parts[-1].repeats(seen.parts[-2]):
                work = work.plus(
                    seen.parts[-1].work_before.minus(seen.parts[-2].work_before),
                    times=len(parts) - MICRO_BATCHES,
                )
            else:
                seen = _watched(step, parts, stage, others, device.type)
                work = seen.work
    if seen.uncounted:
        return Unforecast(reason=f"it makes tensors without a plain storage: {seen.uncounted}")
    return Traced(
        live_peak_bytes=seen.highest_bytes, work=work, heaviest=seen.heaviest, build_seconds=built
    )


def _watched(
    step: TrainingStep,
    parts: list[Part],
    stage: _Stage,
    others: list[Tensor],
    device_type: str,
) -> StepCounter:
    held = _beside(others, device_type)
    counter = StepCounter(device_type, held)
    stage.counter = counter
    with counter:
        step(parts)
    stage.counter = None
    held.clear()
    counter.ends()
    return counter


def _fake_tensors(device_type: str) -> list[Tensor]:
    gc.collect()
    # Asking the type, not the object: see ``present_tensors``.
    found: list[Tensor] = [thing for thing in gc.get_objects() if type(thing) is FakeTensor]
    return [t for t in found if t.layout == torch.strided and t.device.type == device_type]


def _beside(others: list[Tensor], device_type: str) -> list[Tensor]:
    """All present fake tensors that share no storage with ``others``."""
    addresses = {t.untyped_storage()._cdata for t in others}
    return [t for t in _fake_tensors(device_type) if t.untyped_storage()._cdata not in addresses]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum({s._cdata: s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())


class _Stage(TorchDispatchMode):
    """What fake tensors lack.

    It answers what the harness itself asks of values: an optimizer reads its step number, and a
    gradient scaler whether anything overflowed. What a workload asks is left to fail. And it
    mends what a fake operator returns otherwise than the real one.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._in_workload = self._in_optimizer = False
        self.counter: StepCounter | None = None
        accumulate = module.accumulate

        def watched(*args: Any) -> Any:
            self._in_workload = True
            if self.counter is not None:
                self.counter.part_begins()
            loss = accumulate(*args)
            if self.counter is not None:
                self.counter.part_ends()
            self._in_workload = False
            return loss

        module.accumulate = watched
        self._handles: list[Any] = []

    def __enter__(self) -> Any:
        # Of all optimizers: there may be one a parameter.
        self._handles = [
            register_optimizer_step_pre_hook(lambda *_: self._optimizing(True)),
            register_optimizer_step_post_hook(lambda *_: self._optimizing(False)),
        ]
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *exc_info: Any) -> None:
        super().__exit__(*exc_info)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()

    def _optimizing(self, now: bool) -> None:
        self._in_optimizer = now

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            if self._in_optimizer:
                return 1.0
            if not self._in_workload:
                return 0.0
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.native_batch_norm.default:
            return _as_on_a_cpu(args[0], args[1:5], result)
        return result


def _as_on_a_cpu(x: Tensor, beside: tuple[Any, ...], result: tuple[Tensor, ...]) -> Any:
    """On a CPU, statistics of half-precision inputs are float32 if weights or buffers are."""
    mixed = any(t is not None and t.dtype == torch.float32 for t in beside)
    if x.device.type != "cpu" or x.dtype not in (torch.bfloat16, torch.float16) or not mixed:
        return result
    return (result[0], *(t.to(torch.float32) for t in result[1:]))
