"""Accumulation of gradients over parts of the batch: one optimizer step for several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch import Tensor, nn
from torch.optim import Optimizer

from ffprof.estimator.advice.change import Change, Extra
from ffprof.estimator.advice.scene import Build, Scene, Step, staged

# The second part is the first that finds gradients, and those up to the last ask for what it does;
# a third one, because the allocator may serve the second from what the first left.
_TRACED = 3
_CODE = """\
# the loader gives batches of {batch}
for part in range({parts}):
    loss = ... / {parts}  # forward and loss of one of them
    loss.backward()
optimizer.step()
optimizer.zero_grad()
"""


def accumulated(parts: int, batch: int, *, normalises: bool) -> Change:
    """The batch in so many parts of ``batch`` samples; one optimizer step for all of them.

    ``normalises``: there is a norm over the batch.
    """
    return Change(
        id=f"accumulate-{parts}",
        title=f"accumulation over {parts} ({batch} at a time)",
        family="accumulation",
        effect="same",
        code=_CODE.format(parts=parts, batch=batch),
        note="batch norm sees a part of the batch" if normalises else "",
        applied=lambda build, extra: _in_parts(build, extra, parts),
        parts=parts,
    )


@contextmanager
def _in_parts(build: Build, extra: Extra, wanted: int) -> Iterator[Build]:
    """A step of the smaller batch several times, with one update at the end."""
    parts = min(wanted, _TRACED)
    extra.part_times = wanted / parts

    def prepare(scene: Scene, step: Step) -> Step:
        turn = _Turn(parts, scene.made)
        scene.backward.append(turn.backward)
        scene.after.append(turn.keep)
        for optimizer in scene.made:
            scene.replace(optimizer, "step", turn.last_only(optimizer.step))

        def stepped() -> object:
            result: object = None
            with (
                mock.patch.object(Optimizer, "zero_grad", turn.once(Optimizer.zero_grad)),
                mock.patch.object(nn.Module, "zero_grad", turn.once(nn.Module.zero_grad)),
            ):
                for part in range(parts):
                    turn.begin(part)
                    result = step()
            return result

        return stepped

    with staged(build, prepare) as changed:
        yield changed


class _Turn:
    """Which part is under way, and the gradients of those before it.

    A loop may let go of gradients as ``p.grad = None``; they are there again when the next
    backward begins, and were held all the time, as they would be.
    """

    def __init__(self, parts: int, optimizers: Sequence[Optimizer]) -> None:
        self.part, self.parts, self.after = 0, parts, False
        self._optimizers = optimizers
        self._kept: list[tuple[Tensor, Tensor]] = []

    def begin(self, part: int) -> None:
        self.part, self.after = part, False

    def backward(self) -> None:
        self.after = True
        for parameter, gradient in self._kept:
            if parameter.grad is None:
                parameter.grad = gradient
        self._kept.clear()

    def keep(self) -> None:
        """After a backward; of the last part nothing needs to be held."""
        if self.part < self.parts - 1:
            self._kept[:] = [
                (parameter, parameter.grad)
                for optimizer in self._optimizers
                for group in optimizer.param_groups
                for parameter in group["params"]
                if parameter.grad is not None
            ]

    def last_only(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """An update, which waits for the last part; a closure runs in every part."""

        def running(closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
            if self.part == self.parts - 1:
                return run(**kwargs) if closure is None else run(closure, **kwargs)
            return None if closure is None else closure()

        return running

    def once(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Gradients are cleared before the first backward, or after the last."""

        def running(*args: Any, **kwargs: Any) -> Any:
            first, last = self.part == 0, self.part == self.parts - 1
            if (first and not self.after) or (last and self.after):
                run(*args, **kwargs)

        return running
