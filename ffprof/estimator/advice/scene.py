"""What a step is made of while it is tried: its models, its optimizers, where its backward begins.

A change alters them without touching the user's code, and everything is put back afterwards. All
of it works on ``build`` as it is: models are found as they are put together, or called from outside
of all others, and optimizers when they are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_module_registration_hook,
)
from torch.optim import Optimizer

Step = Callable[[], object]
Build = Callable[[Any], Step]


class Scene:
    """What changes listen to; every list of callables is asked in order.

    ``models``: called once with each outermost model: after the build, or before its first forward
    if it was put together elsewhere.
    ``calls``: before every forward of an outermost model.
    ``backward``, ``after``: called when a backward pass begins, and when it is over.
    ``made``: the optimizers that ``build`` made, in order. ``device``: what it was given.
    ``grads``: ``torch.autograd.grad`` was called.
    """

    def __init__(self) -> None:
        self.models: list[Callable[[nn.Module], None]] = []
        self.calls: list[Callable[[], None]] = []
        self.backward: list[Callable[[], None]] = []
        self.after: list[Callable[[], None]] = []
        self.made: list[Optimizer] = []
        self.device = ""
        self.grads = False
        self.undo = ExitStack()

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute until the step has been tried."""
        self.undo.enter_context(mock.patch.object(owner, name, value))


@contextmanager
def staged(build: Build, prepare: Callable[[Scene, Step], Step]) -> Iterator[Build]:
    """``build`` with a change: ``prepare`` is given what it made, and gives the step to run."""
    scene = Scene()

    with scene.undo, _watched(scene) as tell_built:

        def changed(device: Any) -> Step:
            scene.device = torch.device(device).type
            with _noted(scene.made):
                step = build(device)
            if callable(step):
                step = prepare(scene, step)
                tell_built()
            return step

        yield changed


@contextmanager
def on_models(build: Build, alter: Callable[[Scene, nn.Module], None]) -> Iterator[Build]:
    """``build`` with a change of every model."""

    def prepare(scene: Scene, step: Step) -> Step:
        scene.models.append(lambda model: alter(scene, model))
        return step

    with staged(build, prepare) as changed:
        yield changed


@contextmanager
def on_optimizers(build: Build, alter: Callable[[Optimizer], None]) -> Iterator[Build]:
    """``build`` with a change of every optimizer that it makes."""

    def prepare(scene: Scene, step: Step) -> Step:
        for optimizer in scene.made:
            alter(optimizer)
        return step

    with staged(build, prepare) as changed:
        yield changed


@contextmanager
def _noted(made: list[Optimizer]) -> Iterator[None]:
    begin = Optimizer.__init__

    def init(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        made.append(self)

    with mock.patch.object(Optimizer, "__init__", init):
        yield


@contextmanager
def _watched(scene: Scene) -> Iterator[Callable[[], None]]:
    parents: WeakKeyDictionary[nn.Module, ref[nn.Module]] = WeakKeyDictionary()
    known: WeakSet[nn.Module] = WeakSet()
    depth = 0

    def registered(parent: nn.Module, _: str, child: nn.Module | None) -> None:
        if child is None:
            return
        held = parents.get(child)
        before = held() if held else None
        # Part of a list is a list of its own: the whole one counts.
        if before is None or child not in list(before.children()):
            parents[child] = ref(parent)

    def meet(model: nn.Module) -> None:
        known.update(model.modules())
        for tell in scene.models:
            tell(model)

    def meet_built() -> None:
        held = [one for parent in list(parents.values()) if (one := parent()) is not None]
        for model in dict.fromkeys(_outermost(one, parents) for one in held):
            if model not in known:
                meet(model)

    def enters(module: nn.Module, _: Any) -> None:
        nonlocal depth
        depth += 1
        if depth > 1 or torch._C._current_graph_task_id() != -1:  # what is computed again
            return
        if module not in known:
            meet(_outermost(module, parents))
        for tell_call in scene.calls:
            tell_call()

    def leaves(*_: Any) -> None:
        nonlocal depth
        depth = max(0, depth - 1)

    handles = [
        register_module_module_registration_hook(registered),
        register_module_forward_pre_hook(enters),
        register_module_forward_hook(leaves, always_call=True),
    ]
    backward, grad = torch.autograd.backward, torch.autograd.grad

    def begins(run: Callable[..., Any], only: bool = False) -> Callable[..., Any]:
        def running(*args: Any, **kwargs: Any) -> Any:
            scene.grads |= only
            for tell in scene.backward:
                tell()
            result = run(*args, **kwargs)
            for tell in scene.after:
                tell()
            return result

        return running

    try:
        with mock.patch.multiple(
            torch.autograd, backward=begins(backward), grad=begins(grad, only=True)
        ):
            yield meet_built
    finally:
        for handle in handles:
            handle.remove()


def _outermost(module: nn.Module, parents: WeakKeyDictionary[nn.Module, ref[nn.Module]]) -> Any:
    for _ in range(100):
        held = parents.get(module)
        parent = held() if held else None
        if parent is None or module not in list(parent.children()):
            break
        module = parent
    return module
