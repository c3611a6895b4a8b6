"""Changes that are a context around forward and loss: autocast, and saved tensors on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Literal

import torch

from ffprof.estimator.advice.change import Change, Extra
from ffprof.estimator.advice.scene import Build, Scene, Step, staged

_LOOP = """\
{before}with {context}:
    loss = ...  # forward and loss, as before
{after}"""


def autocast(precision: Literal["bf16", "fp16"]) -> Change:
    """Products in two bytes; weights, gradients and the optimizer's state stay in fp32."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float16
    name = str(kind).removeprefix("torch.")
    scaled = precision == "fp16"
    after = "scaler.scale(loss).backward()\nscaler.step(optimizer)\nscaler.update()\n"
    return Change(
        id=precision,
        title=f"{precision} autocast",
        family="precision",
        effect="rounding",
        code=_LOOP.format(
            before='scaler = torch.amp.GradScaler("cuda")  # once, before the loop\n\n'
            if scaled
            else "",
            context=f'torch.autocast("cuda", dtype=torch.{name})',
            after=after if scaled else "loss.backward()\n",
        ),
        note="gradients are scaled, or small ones vanish" if scaled else "",
        applied=lambda build, extra: _around_forward(
            build, lambda device: torch.autocast(device, dtype=kind)
        ),
        precision=precision,
    )


def saved_on_host() -> Change:
    """What backward needs goes to the host's memory and comes back."""

    def applied(build: Build, extra: Extra) -> AbstractContextManager[Build]:
        return _around_forward(build, lambda device: _counted(extra))

    return Change(
        id="save-on-cpu",
        title="saved tensors on the host",
        family="saved",
        effect="same",
        code=_LOOP.format(
            before="",
            context="torch.autograd.graph.save_on_cpu(pin_memory=True)",
            after="loss.backward()\n",
        ),
        note="the host needs that memory, pinned",
        applied=applied,
    )


def _counted(extra: Extra) -> Any:
    """PyTorch's context, with what it moves counted."""
    found = torch.autograd.graph.save_on_cpu(pin_memory=False)
    pack = found.pack_hook

    def counted(tensor: torch.Tensor) -> Any:
        extra.link_bytes += 2 * tensor.nbytes
        return pack(tensor)

    found.pack_hook = counted
    return found


@contextmanager
def _around_forward(build: Build, enter: Callable[[str], Any]) -> Iterator[Build]:
    """The context holds from the beginning of a step, and of every further forward, to backward."""

    def prepare(scene: Scene, step: Step) -> Step:
        inside = ExitStack()
        is_open = False

        def begin() -> None:
            nonlocal is_open
            if not is_open:
                inside.enter_context(enter(scene.device))
                is_open = True

        def end() -> None:
            nonlocal is_open
            inside.close()
            is_open = False

        def stepped() -> object:
            begin()
            scene.calls.append(begin)
            try:
                return step()
            finally:
                scene.calls.remove(begin)
                end()

        scene.backward.append(end)
        return stepped

    with staged(build, prepare) as changed:
        yield changed
