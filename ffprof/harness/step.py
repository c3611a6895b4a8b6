"""One optimizer step over the effective batch: the harness's side of the protocol.

What must match between workloads happens here and in ``ffprof.harness.optimizer``, nowhere else:
precision, transfer, weighting, optimizer, zeroing, normalisation momentum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ffprof.harness.backbone import Matched, build_matched
from ffprof.harness.optimizer import Update, make_update
from ffprof.records.recipe import Precision, Recipe
from ffprof.workload import Backward, Carried, Description, Trainable

Part = tuple[Tensor, Tensor]
_AS_IS = nullcontext()
# What autocast computes in; fp32 has no autocast.
AUTOCAST: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Built:
    """A workload ready to be fed."""

    module: Trainable
    matched: Matched
    update: Update
    step: TrainingStep


def build_module(
    description: Description,
    recipe: Recipe,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> tuple[Trainable, Matched]:
    """Build a workload on the shared backbone, in training mode, where and as it will be fed.

    Args:
        description: the workload.
        recipe: all that is to match.
        device: where it trains.
        dtype: of its parameters; None leaves them as they are built.

    Raises:
        RefusedError: the workload does not keep to what the recipe fixes.
    """
    module, matched = build_matched(description, recipe)
    channels_last = recipe.memory_format == "channels_last"
    module.to(
        device=device,
        dtype=dtype,
        memory_format=torch.channels_last if channels_last else torch.preserve_format,
    )
    module.train()
    set_norm_momentum(module, recipe.batch // description.micro_batch(recipe))
    return module, matched


def build_step(
    description: Description,
    recipe: Recipe,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> Built:
    """``build_module``, with the recipe's optimizer and the step that feeds it.

    Raises:
        RefusedError: the workload does not keep to what the recipe fixes.
    """
    module, matched = build_module(description, recipe, device, dtype)
    update = make_update(module, recipe, device.type, in_backward=description.steps_in_backward)
    step = TrainingStep(module, update, recipe, device)
    return Built(module=module, matched=matched, update=update, step=step)


def set_norm_momentum(module: Trainable, updates: int) -> None:
    """Give running statistics the same horizon under accumulation: 1 - (1 - m)^(1 / updates).

    With ``updates`` micro-batches a step they are updated that many times, so each update must
    weigh less. A momentum of None (cumulative average) is left alone.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.momentum is not None:
            part.momentum = 1 - (1 - part.momentum) ** (1 / updates)


class TrainingStep:
    """Feeds one effective batch, in parts, and takes one optimizer step.

    Args:
        module: on the device, in training mode.
        update: what is done with its gradients.
        recipe: precision, memory format and effective batch.
        device: where the parts are moved to, one at a time.
    """

    def __init__(
        self, module: Trainable, update: Update, recipe: Recipe, device: torch.device
    ) -> None:
        self._module = module
        self.update = update
        self._batch = recipe.batch
        self._device = device
        self._autocast = AUTOCAST.get(recipe.precision)
        # For a checked step: called with a loss and the function that runs its backward pass.
        self.observer: Callable[[Tensor, Callable[[], None]], None] | None = None
        # For images that are stored otherwise: called on the device with what was moved there.
        self.prepare: Callable[[Tensor], Tensor] | None = None
        self._format = (
            torch.channels_last
            if recipe.memory_format == "channels_last"
            else torch.contiguous_format
        )

    def __call__(self, parts: Iterable[Part]) -> Tensor:
        """Mean loss over the effective batch before the step, a detached scalar."""
        total: Tensor | None = None
        for images, labels in parts:
            loss = self.feed(images, labels)
            total = loss if total is None else total + loss
        self.update.finish()
        if total is None:
            raise ValueError("an effective batch has at least one part")
        return total

    def feed(self, images: Tensor, labels: Tensor) -> Tensor:
        """Move one micro-batch, add its gradients; its loss times its weight n_i / B."""
        weight = len(labels) / self._batch
        # A copy on the CPU too: a micro-batch is then as large there as it would be on a GPU,
        # and not a view that keeps the whole batch.
        x = images.to(self._device, non_blocking=True, copy=True, memory_format=self._format)
        y = labels.to(self._device, non_blocking=True, copy=True)
        if self.prepare is not None:
            x = self.prepare(x)
        backward = self._backward(weight)
        with self.autocast():
            loss = self._module.accumulate(x, y, weight, backward)
        return loss if weight == 1 else loss * weight

    def autocast(self) -> AbstractContextManager[object]:
        """What the forward pass runs in."""
        if self._autocast is None:
            return _AS_IS
        return torch.autocast(self._device.type, self._autocast)

    def _backward(self, weight: float) -> Backward:
        def backward(loss: Tensor, carried: Sequence[Carried] = ()) -> None:
            if self.observer is None:
                run(loss, carried)
            else:
                self.observer(loss, lambda: run(loss, carried))

        def run(loss: Tensor, carried: Sequence[Carried]) -> None:
            # Backward operators run in the type that autocast chose in forward; left on, it
            # would cast once more what backward formulas compute.
            off = self._autocast is not None
            with torch.autocast(self._device.type, enabled=False) if off else _AS_IS:
                root = self.update.scale(loss if weight == 1 else loss * weight)
                if carried:
                    tensors, gradients = zip(*carried, strict=True)
                    torch.autograd.backward((root, *tensors), (None, *gradients))
                else:
                    root.backward()

        return backward
