"""Does a workload do what its row says? Checked in untimed passes, after the figures are taken.

A fast row is worth nothing if it left out part of the work. One checked step asks that

- backward passes are the harness's, parameters change through its optimizer only, and all that
  should be trained receive gradients (how many do is a fact of the ledger);
- forward and backward run under the recipe's precision and switches;
- every image of a micro-batch counts: with its first, middle or last image replaced by NaN, the
  loss must not be finite.

It does not prove honesty: a workload that is out to deceive can tell these passes from others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ffprof.errors import RefusedError
from ffprof.hardware.flags import flag_changes, read_flags
from ffprof.harness.step import AUTOCAST, Part, TrainingStep
from ffprof.records.recipe import Recipe
from ffprof.workload import Trainable


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a checked step saw, for the ledger."""

    trained_parameters: int
    convolutions_channels_last: str
    parameter_dtypes: str


def check_step(
    module: Trainable, step: TrainingStep, parts: Sequence[Part], recipe: Recipe
) -> Observed:
    """Feed one effective batch without an optimizer step and look at everything on the way.

    Raises:
        RefusedError: the workload leaves work out, or changes what the harness owns.
    """
    layouts: list[bool] = []
    handles: list[Any] = [
        part.register_forward_pre_hook(
            lambda _, inputs: layouts.append(
                inputs[0].is_contiguous(memory_format=torch.channels_last)
            )
        )
        for part in module.modules()
        if isinstance(part, nn.Conv2d)
    ]
    # On the host, so that a check does not need what training left over.
    before = [p.detach().to("cpu", copy=True) for p in module.parameters()]
    watch = _Watch(recipe, read_flags())
    handles += [
        p.register_post_accumulate_grad_hook(watch.accumulated)
        for p in module.parameters()
        if p.requires_grad
    ]
    step.observer = watch
    try:
        with step.update.hold():
            for images, labels in parts:
                layouts.clear()
                step.feed(images, labels)
    finally:
        step.observer = None
        for handle in handles:
            handle.remove()
    if watch.objection:
        raise RefusedError(watch.objection, watch.fix)
    after = [p.detach().cpu() for p in module.parameters()]
    if not all(_same(is_now, was) for is_now, was in zip(after, before, strict=True)):
        raise RefusedError(
            "it changes its parameters while gradients are accumulated",
            "leave the step to the harness's optimizer",
        )
    trained = [p for p in module.parameters() if p.grad is not None]
    if not trained:
        raise RefusedError("no parameter receives a gradient", "call backward in accumulate")
    observed = Observed(
        trained_parameters=sum(p.numel() for p in trained),
        convolutions_channels_last=share(layouts),
        parameter_dtypes=", ".join(sorted({str(p.dtype)[6:] for p in module.parameters()})),
    )
    for parameter in module.parameters():
        parameter.grad = None
    return observed


def check_every_image_counts(module: Trainable, step: TrainingStep, part: Part) -> None:
    """Spoil three images of a micro-batch in turn; spoils running statistics too, so comes last.

    Raises:
        RefusedError: the loss does not notice.
    """
    for spoiled in sorted({0, len(part[1]) // 2, len(part[1]) - 1}):
        images, labels = part[0].clone(), part[1]
        images[spoiled] = float("nan")
        with step.update.hold():
            loss = step.feed(images, labels)
        for parameter in module.parameters():
            parameter.grad = None
        if torch.isfinite(loss).all():
            raise RefusedError(
                "its loss does not depend on every image of the batch", "use the whole micro-batch"
            )


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal values; a parameter that is not a number is so before and after."""
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def share(flags: Sequence[bool]) -> str:
    """How many of some yes-or-no answers are yes, in a word."""
    return "none" if not any(flags) else "all" if all(flags) else "some"


class _Watch:
    """Stands between a workload and its backward passes and compares conditions."""

    def __init__(self, recipe: Recipe, flags: dict[str, str | int | bool]) -> None:
        self._recipe, self._flags = recipe, flags
        self._inside = False
        self.objection, self.fix = "", "leave precision and switches to the recipe"

    def accumulated(self, _: Tensor) -> None:
        """A gradient came out of a backward pass."""
        if not self._inside:
            self.objection = "it runs a backward pass of its own"
            self.fix = "call the given backward(loss), not loss.backward()"

    def __call__(self, loss: Tensor, backward: Callable[[], None]) -> None:
        kind, wanted = loss.device.type, AUTOCAST.get(self._recipe.precision)
        if torch.is_autocast_enabled(kind) != (wanted is not None):
            self.objection = f"it turns autocast {'on' if wanted is None else 'off'} for itself"
        elif wanted is not None and torch.get_autocast_dtype(kind) != wanted:
            self.objection = f"it changes autocast to {torch.get_autocast_dtype(kind)} for itself"
        changes = flag_changes(self._flags)
        if changes:
            self.objection = f"it changes {changes}"
        self._inside = True
        backward()
        self._inside = False
