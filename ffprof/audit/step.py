"""One optimizer step over the effective batch: the harness's side of the protocol.

What must match between workloads happens here and nowhere else: precision, transfer, weighting,
optimizer, zeroing, normalisation momentum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ffprof.errors import RefusedError
from ffprof.recipe import Optimizer, Recipe
from ffprof.workload import Backward, Trainable

Part = tuple[Tensor, Tensor]
_AS_IS = nullcontext()


def make_optimizer(module: Trainable, chosen: Optimizer) -> torch.optim.Optimizer:
    """The recipe's optimizer over all trainable parameters, decayed unless declared otherwise.

    Raises:
        RefusedError: the declaration names no parameter.
    """
    free = module.no_weight_decay()
    unknown = set(free) - {name for name, _ in module.named_parameters()}
    if unknown:
        raise RefusedError(
            f"no_weight_decay names what is no parameter: {', '.join(sorted(unknown))}",
            "return names from named_parameters",
        )
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    decayed = [p for name, p in named if name not in free]
    undecayed = [p for name, p in named if name in free]
    groups: list[dict[str, Any]] = [{"params": decayed}] if decayed else []
    if undecayed:
        groups.append({"params": undecayed, "weight_decay": 0.0})
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[chosen.name]
    optimizer: torch.optim.Optimizer = kind(
        groups, lr=chosen.lr, weight_decay=chosen.weight_decay, foreach=chosen.foreach
    )
    return optimizer


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
        optimizer: over its parameters.
        recipe: precision, memory format and effective batch.
        device: where the parts are moved to, one at a time.
    """

    def __init__(
        self,
        module: Trainable,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        self._module = module
        self._optimizer = optimizer
        self._batch = recipe.batch
        self._device = device
        self._autocast = recipe.precision == "bf16"
        # For a checked step: called with a loss and the function that runs its backward pass.
        self.observer: Callable[[Tensor, Backward], None] | None = None
        self._format = (
            torch.channels_last
            if recipe.memory_format == "channels_last"
            else torch.contiguous_format
        )

    def __call__(self, parts: Sequence[Part]) -> Tensor:
        """Mean loss over the effective batch before the step, a detached scalar."""
        total: Tensor | None = None
        for images, labels in parts:
            loss = self.feed(images, labels)
            total = loss if total is None else total + loss
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
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
        backward = self._backward(weight)
        if self._autocast:
            with torch.autocast(self._device.type, torch.bfloat16):
                loss = self._module.accumulate(x, y, weight, backward)
        else:
            loss = self._module.accumulate(x, y, weight, backward)
        return loss if weight == 1 else loss * weight

    def _backward(self, weight: float) -> Backward:
        def backward(loss: Tensor) -> None:
            # Backward operators run in the type that autocast chose in forward; left on, it
            # would cast once more what backward formulas compute.
            with torch.autocast(self._device.type, enabled=False) if self._autocast else _AS_IS:
                (loss if weight == 1 else loss * weight).backward()

        observer = self.observer
        return backward if observer is None else lambda loss: observer(loss, backward)
