"""Changes of the optimizer: one kernel for all parameters or one each, smaller state, or none.

The classes of PyTorch that make their state from parameters are known; others are left as they
are.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from ffprof.estimator.advice.change import Change
from ffprof.estimator.advice.scene import Build, Scene, Step, on_optimizers, staged
from ffprof.records.estimate import Effect

# bitsandbytes keeps states of 8 bits for tensors of this many elements and more, with one scale of
# 4 bytes for every 256 (its defaults ``min_8bit_size`` and block size of optimizers; not run here).
_LEAST, _BLOCK, _CODES = 4096, 256, 256


@dataclass
class Loop:
    """How a step updates, found out while it runs as it is.

    ``clears``: gradients are set to zero and not let go; ``clips``: the whole gradient is clipped;
    ``backwards``: how many backward passes there are in a step; ``little``: the optimizer holds
    too little for another one to matter.
    """

    made: list[Optimizer] = field(default_factory=list)
    clears: bool = False
    clips: bool = False
    backwards: int = 0
    little: bool = False


def changes_of(loop: Loop) -> Iterator[Change]:
    """The changes that its optimizers allow.

    An optimizer of a class that is not known has none but those of its gradients.
    """
    made = loop.made
    if not loop.little:
        yield from _others(made)
    # Of several, one's gradients may be made by the losses of another.
    if len(made) == 1 and loop.backwards == 1:
        (kind,) = map(type, made)
        clipped = loop.clips
        yield Change(
            id="step-in-backward",
            title="optimizer step inside backward",
            family="update",
            effect="method" if clipped else "same",
            code=_IN_BACKWARD.format(name=_name_of(kind)),
            note="the whole gradient is not clipped any more"
            if clipped
            else "no clipping of the whole gradient, no accumulation, no scaled loss",
            applied=lambda build, extra: _in_backward(build),
        )
    if loop.clears:
        yield Change(
            id="set-to-none",
            title="zero_grad(set_to_none=True)",
            family="clearing",
            effect="same",
            code="optimizer.zero_grad(set_to_none=True)\n",
            applied=lambda build, extra: _set_to_none(build),
        )


def _others(made: Sequence[Optimizer]) -> Iterator[Change]:
    """Another implementation of the same, or another optimizer."""
    name = " and ".join(dict.fromkeys(type(one).__name__ for one in made))
    flags = [(one.defaults.get("fused"), one.defaults.get("foreach")) for one in made]
    if made and all(
        "fused" in one.defaults and not fused for one, (fused, _) in zip(made, flags, strict=True)
    ):
        yield _flagged("fused", f"fused {name}", _each(made, "..., fused=True"), True)
    known = all("foreach" in one.defaults for one in made)
    if made and known and not any(fused or foreach is False for fused, foreach in flags):
        code = _each(made, "..., foreach=False")
        yield _flagged("no-foreach", f"{name} with foreach=False", code, False)
    if made and all(type(one) in (Adam, AdamW) for one in made):
        yield _replaced(
            "adam-8bit",
            f"{name} with 8-bit states",
            "method",
            "".join(
                f"bitsandbytes.optim.{kind.__name__}8bit(model.parameters(), ...)\n"
                for kind in dict.fromkeys(map(type, made))
            ),
            _EightBits,
            "states by bitsandbytes' layout, not run here",
        )
        yield _replaced(
            "sgd",
            "SGD with momentum",
            "method",
            "torch.optim.SGD(model.parameters(), lr=..., momentum=0.9)\n",
            lambda groups: SGD(groups, lr=0.1, momentum=0.9),
            "another optimizer: find its learning rate",
        )


def _each(made: Sequence[Optimizer], arguments: str) -> str:
    kinds = dict.fromkeys(map(type, made))
    return "".join(f"{_name_of(kind)}({arguments})\n" for kind in kinds)


def _name_of(kind: type[Optimizer]) -> str:
    of_torch = getattr(torch.optim, kind.__name__, None) is kind
    return f"torch.optim.{kind.__name__}" if of_torch else kind.__name__


_IN_BACKWARD = """\
own = {{p: {name}([p], ...) for p in model.parameters()}}

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
        code=code,
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
        # Schedulers read what is in the groups, and count the steps by a function of their own.
        before = optimizer.param_groups
        other = make([{"params": group["params"]} for group in before])
        counted = "step" in vars(optimizer)
        for group, old in zip(other.param_groups, before, strict=True):
            group.update({key: value for key, value in old.items() if key not in group})
            group["lr"] = old.get("lr", 0.0)
        other.defaults = {**optimizer.defaults, **other.defaults}
        optimizer.__class__ = type(other)
        optimizer.__dict__.clear()
        optimizer.__dict__.update(other.__dict__)
        if counted:
            run = optimizer.step

            def step(*args: Any, **kwargs: Any) -> Any:
                optimizer._opt_called = True  # type: ignore[attr-defined]
                return run(*args, **kwargs)

            step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
            optimizer.step = step  # type: ignore[method-assign]

    return Change(
        id=id,
        title=title,
        family="optimizer",
        effect=effect,
        code=code,
        note=note,
        applied=lambda build, extra: on_optimizers(build, become),
    )


class _EightBits(Optimizer):
    """Adam's two states in a byte each, as bitsandbytes lays them out; it updates nothing."""

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {})

    def step(self, closure: Any = None) -> Any:
        """Make the state of what has a gradient."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter not in self.state:
                    self.state[parameter] = _states(parameter)
        return result


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
            scene.replace(whole, "step", lambda closure=None: closure() if closure else None)
            scene.replace(whole, "zero_grad", lambda *_, **__: None)
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
