"""Changes of the optimizer: one kernel for all parameters or one each, smaller state, or none.

The classes of PyTorch that make their state from parameters are known; others are left as they
are.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from ffprof.estimator.advice.change import Change, Effect
from ffprof.estimator.advice.scene import Build, Scene, Step, on_optimizers, staged

# bitsandbytes keeps states of 8 bits for tensors of this many elements and more, with one scale of
# 4 bytes for every 256 (its defaults ``min_8bit_size`` and block size of optimizers; not run here).
_LEAST, _BLOCK, _CODES = 4096, 256, 256


def changes_of(made: Sequence[Optimizer], clears: bool) -> Iterator[Change]:
    """The changes that these optimizers allow; ``clears``: gradients are set to zero, not let go.

    An optimizer of a class that is not known has none but those of its gradients.
    """
    names = {type(one).__name__ for one in made}
    name = names.pop() if len(names) == 1 else "optimizer"
    flags = [(one.defaults.get("fused"), one.defaults.get("foreach")) for one in made]
    if made and all("fused" in one.defaults for one in made):
        if not any(fused for fused, _ in flags):
            yield _flagged("fused", f"fused {name}", f"torch.optim.{name}(..., fused=True)", True)
        if not any(fused or foreach is False for fused, foreach in flags):
            code = f"torch.optim.{name}(..., foreach=False)"
            yield _flagged("no-foreach", f"{name} with foreach=False", code, False)
    if made and all(type(one) in (Adam, AdamW) for one in made):
        yield _replaced(
            "adam-8bit",
            f"{name} with 8-bit states",
            "method",
            f"bitsandbytes.optim.{name}8bit(model.parameters(), ...)",
            _EightBits,
            "states by bitsandbytes' layout, not run here",
        )
        yield _replaced(
            "sgd",
            "SGD with momentum",
            "method",
            "torch.optim.SGD(model.parameters(), lr=..., momentum=0.9)",
            lambda groups: SGD(groups, lr=0.1, momentum=0.9),
            "another optimizer: find its learning rate",
        )
    if made:
        yield Change(
            id="step-in-backward",
            title="optimizer step inside backward",
            family="update",
            effect="same",
            code=_IN_BACKWARD.format(name=name),
            note="no clipping of the whole gradient, no accumulation",
            applied=lambda build, extra: _in_backward(build),
        )
    if clears:
        yield Change(
            id="set-to-none",
            title="zero_grad(set_to_none=True)",
            family="clearing",
            effect="same",
            code="optimizer.zero_grad(set_to_none=True)\n",
            applied=lambda build, extra: _set_to_none(build),
        )


_IN_BACKWARD = """\
own = {{p: torch.optim.{name}([p], ...) for p in model.parameters()}}

def update(p):
    own[p].step()
    own[p].zero_grad()

for p in own:
    p.register_post_accumulate_grad_hook(update)
# the loop has no optimizer.step() and no zero_grad() any more
"""


def _flagged(id: str, title: str, code: str, fused: bool) -> Change:
    return Change(
        id=id,
        title=title,
        family="optimizer",
        effect="same",
        code=code + "\n",
        applied=lambda build, extra: on_optimizers(build, lambda one: _flag(one, fused)),
    )


def _flag(optimizer: Optimizer, fused: bool) -> None:
    for group in (optimizer.defaults, *optimizer.param_groups):
        group["fused"], group["foreach"] = fused or None, None if fused else False


def _replaced(
    id: str,
    title: str,
    effect: Effect,
    code: str,
    make: Callable[[Any], Optimizer],
    note: str,
) -> Change:
    def become(optimizer: Optimizer) -> None:
        groups = [{"params": group["params"]} for group in optimizer.param_groups]
        other = make(groups)
        optimizer.__class__ = type(other)
        optimizer.__dict__.clear()
        optimizer.__dict__.update(other.__dict__)

    return Change(
        id=id,
        title=title,
        family="optimizer",
        effect=effect,
        code=code + "\n",
        note=note,
        applied=lambda build, extra: on_optimizers(build, become),
    )


class _EightBits(Optimizer):
    """Adam's two states in a byte each, as bitsandbytes lays them out; it updates nothing."""

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make the state of what has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter not in self.state:
                    self.state[parameter] = _states(parameter)


def _states(parameter: Tensor) -> dict[str, Tensor]:
    if parameter.numel() < _LEAST:
        return {
            name: torch.zeros_like(parameter, dtype=torch.float32) for name in ("state1", "state2")
        }
    blocks = -(-parameter.numel() // _BLOCK)
    made: dict[str, Tensor] = {}
    for number in ("1", "2"):
        made["state" + number] = torch.zeros_like(parameter, dtype=torch.uint8)
        made["absmax" + number] = torch.zeros(blocks, device=parameter.device)
    return made


@contextmanager
def _in_backward(build: Build) -> Iterator[Build]:
    def prepare(scene: Scene, step: Step) -> Step:
        for optimizer in scene.made:
            whole = optimizer
            for group in whole.param_groups:
                for parameter in group["params"]:
                    if parameter.requires_grad:
                        handle = parameter.register_post_accumulate_grad_hook(
                            _updater(_alone(whole, group, parameter))
                        )
                        scene.undo.callback(handle.remove)
            for name in ("step", "zero_grad"):
                scene.replace(whole, name, lambda *_, **__: None)
        return step

    with staged(build, prepare) as changed:
        yield changed


def _alone(optimizer: Optimizer, group: dict[str, Any], parameter: Tensor) -> Optimizer:
    one = copy.copy(optimizer)
    one.param_groups = [{**group, "params": [parameter]}]
    one.state = defaultdict(dict)
    return one


def _updater(optimizer: Optimizer) -> Callable[[Tensor], None]:
    def update(parameter: Tensor) -> None:
        optimizer.step()
        optimizer.zero_grad()

    return update


@contextmanager
def _set_to_none(build: Build) -> Iterator[Build]:
    def prepare(scene: Scene, step: Step) -> Step:
        clear, clear_module = Optimizer.zero_grad, torch.nn.Module.zero_grad
        scene.replace(Optimizer, "zero_grad", lambda self, *_, **__: clear(self))
        scene.replace(torch.nn.Module, "zero_grad", lambda self, *_, **__: clear_module(self))
        return step

    with staged(build, prepare) as changed:
        yield changed
