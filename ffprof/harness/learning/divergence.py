"""Training that has left the numbers: found at once, and the layer named in which that begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ffprof.harness.step import Part, TrainingStep
from ffprof.workload import Carried, Trainable

CHECKED_EVERY = 50  # steps, on a GPU, where looking at a loss waits for it


class DivergedError(Exception):
    """A loss is not finite; the message says in which layer that begins."""


class DivergenceWatch:
    """Looks at every loss before its backward pass; on a GPU at every 50th step's.

    Found before the backward pass, the weights are still those that led there.

    Args:
        module: that is trained.
        step: that trains it; on a CPU its observer is taken.
        again: the micro-batch that was fed last, as the module takes it.
        device: where.
    """

    def __init__(
        self,
        module: Trainable,
        step: TrainingStep,
        again: Callable[[], Part],
        device: torch.device,
    ) -> None:
        self._module, self._again, self._steps = module, again, 0
        self._autocast = step.autocast
        self._at_once = device.type == "cpu"
        if self._at_once:
            step.observer = self._observe

    def _observe(self, loss: Tensor, backward: Callable[[], None]) -> None:
        self.check_now(loss)
        backward()

    def check(self, loss: Tensor) -> None:
        """After a step with this loss.

        Raises:
            DivergedError: it is not finite.
        """
        self._steps += 1
        if not self._at_once and self._steps % CHECKED_EVERY == 0:
            self.check_now(loss)

    def check_now(self, loss: Tensor) -> None:
        """Wait for a loss, and look at it.

        Raises:
            DivergedError: it is not finite.
        """
        if not bool(torch.isfinite(loss)):
            with self._autocast():
                where = origin(self._module, *self._again())
            raise DivergedError(f"the loss is not finite; {where}")


def origin(module: Trainable, images: Tensor, labels: Tensor) -> str:
    """Where what is not finite begins, in words: the first layer whose output is not."""
    found: list[str] = []
    with ExitStack() as hooks:
        for name, part in module.named_modules():
            if name and not any(part.children()):
                handle = part.register_forward_hook(partial(_note, found, name))
                hooks.callback(handle.remove)
        module.accumulate(images, labels, 1.0, _no_backward)
    for name, parameter in module.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            found.append(f"{name} holds weights that are not finite")
            break
    return found[0] if found else "every layer's output still is: it begins in the loss"


def _note(found: list[str], name: str, part: nn.Module, inputs: Any, output: Any) -> None:
    if isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
        found.append(f"it begins in the output of {name} ({type(part).__name__})")


def _no_backward(loss: Tensor, carried: Sequence[Carried] = ()) -> None:
    """Only the forward pass is looked at."""
