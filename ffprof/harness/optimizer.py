"""How parameters are updated: one optimizer step after the batch, or each as its gradient is ready.

The harness alone makes optimizers, from the recipe. Loss scaling belongs here too: under fp16
every loss is multiplied by the scale of one ``GradScaler`` before its backward pass, however many
backward passes a step has, and gradients are unscaled once, before the step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ffprof.errors import RefusedError
from ffprof.records.recipe import Optimizer, Recipe
from ffprof.workload import Trainable

_NEVER = 2**31 - 1
_LEAST_SCALE = 2.0**-149  # of float32: halved once more, the scale is 0


class Update(Protocol):
    """What a training step does with its gradients."""

    def scale(self, loss: Tensor) -> Tensor:
        """What to run backward on in place of the loss."""

    def finish(self) -> None:
        """The effective batch is done: parameters are updated and gradients gone after this."""

    def state_tensors(self) -> Iterator[Tensor]:
        """The optimizer's state."""

    def skipped_steps(self) -> int | None:
        """Optimizer steps left out because a gradient was not finite; None without scaling."""

    def hold(self) -> Any:
        """A context in which backward passes leave gradients behind and update nothing."""

    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """All of them, for what schedules their learning rates."""

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""


def make_update(
    module: Trainable, recipe: Recipe, device_type: str, *, in_backward: bool = False
) -> Update:
    """The recipe's optimizer over all trainable parameters.

    Raises:
        RefusedError: there is no trainable parameter, or a declaration names none.
    """
    if in_backward:
        return StepInBackward(module, recipe.optimizer)
    return StepAtEnd(module, recipe, device_type)


class StepAtEnd:
    """One optimizer over all parameters, stepped once an effective batch."""

    def __init__(self, module: Trainable, recipe: Recipe, device_type: str) -> None:
        self.optimizer = _optimizer(_groups(module), recipe.optimizer)
        self._scaler: torch.amp.GradScaler | None = None
        if recipe.precision == "fp16":
            # The scale never grows, so that it tells how many steps were left out; PyTorch would
            # double it after 2,000 good steps in a row.
            self._scaler = torch.amp.GradScaler(device_type, growth_interval=_NEVER)
            self._start = self._scaler.get_scale()

    def scale(self, loss: Tensor) -> Tensor:
        """See ``Update``."""
        if self._scaler is None:
            return loss
        scaled: Tensor = self._scaler.scale(loss)
        return scaled

    def finish(self) -> None:
        """See ``Update``; a scaler asks the device whether all gradients are finite."""
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def state_tensors(self) -> Iterator[Tensor]:
        """See ``Update``."""
        yield from _state(self.optimizer)

    def skipped_steps(self) -> int | None:
        """See ``Update``; read off the scale, which is halved at every step left out.

        After 165 of them it can be halved no more, and they are the least that were left out.
        """
        if self._scaler is None:
            return None
        return round(math.log2(self._start / max(_LEAST_SCALE, self._scaler.get_scale())))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """See ``Update``; nothing is updated in backward anyway."""
        yield

    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """See ``Update``."""
        return (self.optimizer,)

    def state(self) -> dict[str, Any]:
        """See ``Update``; the scale of fp16 is part of it."""
        scaler = {} if self._scaler is None else self._scaler.state_dict()
        return {"optimizers": [self.optimizer.state_dict()], "scaler": scaler}

    def load_state(self, state: dict[str, Any]) -> None:
        """See ``Update``."""
        self.optimizer.load_state_dict(state["optimizers"][0])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])


class StepInBackward:
    """One optimizer a parameter, stepped by a hook when its gradient is complete, then freed.

    Gradients never exist all at once. It needs one backward pass a parameter and step, so it goes
    neither with accumulation nor with loss scaling, which looks at all gradients first. A list of
    one parameter gains nothing by foreach and pays for it, so these optimizers do without.
    """

    def __init__(self, module: Trainable, chosen: Optimizer) -> None:
        self._held = False
        chosen = chosen.model_copy(update={"foreach": False})
        self._optimizers: list[torch.optim.Optimizer] = []
        for group in _groups(module):
            for parameter in group["params"]:
                single = _optimizer([{**group, "params": [parameter]}], chosen)
                self._optimizers.append(single)
                parameter.register_post_accumulate_grad_hook(self._hook(single))

    def _hook(self, optimizer: torch.optim.Optimizer) -> Any:
        def step(parameter: Tensor) -> None:
            if not self._held:
                optimizer.step()
                parameter.grad = None

        return step

    def scale(self, loss: Tensor) -> Tensor:
        """See ``Update``; not scaled."""
        return loss

    def finish(self) -> None:
        """See ``Update``; the hooks have done it."""

    def state_tensors(self) -> Iterator[Tensor]:
        """See ``Update``."""
        for optimizer in self._optimizers:
            yield from _state(optimizer)

    def skipped_steps(self) -> int | None:
        """See ``Update``."""
        return None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """See ``Update``."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """See ``Update``."""
        return self._optimizers

    def state(self) -> dict[str, Any]:
        """See ``Update``."""
        return {"optimizers": [one.state_dict() for one in self._optimizers]}

    def load_state(self, state: dict[str, Any]) -> None:
        """See ``Update``."""
        for one, kept in zip(self._optimizers, state["optimizers"], strict=True):
            one.load_state_dict(kept)


def _groups(module: Trainable) -> list[dict[str, Any]]:
    """Trainable parameters, decayed unless declared otherwise."""
    free = module.no_weight_decay()
    unknown = set(free) - {name for name, _ in module.named_parameters()}
    if unknown:
        raise RefusedError(
            f"no_weight_decay names what is not a parameter: {', '.join(sorted(unknown))}",
            "return names from named_parameters",
        )
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not named:
        raise RefusedError("it has no parameter to train", "make layers attributes of the module")
    decayed: list[nn.Parameter] = [p for name, p in named if name not in free]
    undecayed = [p for name, p in named if name in free]
    groups: list[dict[str, Any]] = [{"params": decayed}] if decayed else []
    if undecayed:
        groups.append({"params": undecayed, "weight_decay": 0.0})
    return groups


def _optimizer(groups: Sequence[dict[str, Any]], chosen: Optimizer) -> torch.optim.Optimizer:
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[chosen.name]
    made: torch.optim.Optimizer = kind(
        list(groups), lr=chosen.lr, weight_decay=chosen.weight_decay, foreach=chosen.foreach
    )
    return made


def _state(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
