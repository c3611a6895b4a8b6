"""Between the harness and a module of the user's own file: fills in what may be left out.

What is sound is accepted (a loss that still hangs on its graph, or that is a Python number); what
is not is refused with one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ffprof.errors import RefusedError
from ffprof.records.recipe import Recipe
from ffprof.workload.description import Builder
from ffprof.workload.protocol import BackboneState, Backward, Trainable


def adapted_builder(target: Callable[..., object], *, shared: bool) -> Builder:
    """A builder for the harness from a module class, or a function that makes a module.

    Args:
        target: called with the recipe, the backbone state and its settings by name.
        shared: whether the module is to start from the shared backbone.
    """

    def build(
        recipe: Recipe, backbone_state: BackboneState | None, /, **settings: float
    ) -> Trainable:
        made: Any = Adapted(target(recipe, backbone_state, **settings), shared=shared)
        return made  # type: ignore[no-any-return]

    return build


class Adapted:
    """Behaves as the module that it holds, with the protocol's optional methods filled in.

    Raises:
        RefusedError: it is no module, has nothing to train, or lacks what cannot be filled in.
    """

    def __init__(self, module: object, *, shared: bool) -> None:
        if not isinstance(module, nn.Module):
            raise RefusedError(
                f"building it gives a {type(module).__name__}, not an nn.Module",
                "return the module",
            )
        if not callable(getattr(module, "accumulate", None)):
            raise RefusedError(
                f"its {type(module).__name__} has no method accumulate",
                "define accumulate(self, images, labels, weight, backward)",
            )
        if not any(p.requires_grad for p in module.parameters()):
            raise RefusedError(
                "it has no parameters to train",
                "make its layers attributes of the module, and leave requires_grad on",
            )
        if shared and not hasattr(module, "backbone_state"):
            raise RefusedError(
                "it is given the shared backbone, but does not show that it uses it",
                "define backbone_state(self), or leave load_backbone out",
            )
        self._module: Any = module

    def __getattr__(self, name: str) -> Any:
        if name == "_module":  # not there yet, as in a copy that is being made
            raise AttributeError(name)
        return getattr(self._module, name)

    def accumulate(
        self, images: Tensor, labels: Tensor, weight: float, backward: Backward
    ) -> Tensor:
        """See ``ffprof.workload.protocol.Trainable``; the loss comes back as a detached scalar."""
        loss = self._module.accumulate(images, labels, weight, backward)
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise RefusedError(
                    f"accumulate returns a tensor of shape {tuple(loss.shape)}",
                    "return the micro-batch's mean loss, a scalar",
                )
            return loss.detach().reshape(())
        if isinstance(loss, float | int) and not isinstance(loss, bool):
            return torch.tensor(float(loss), device=images.device)
        raise RefusedError(
            f"accumulate returns {'None' if loss is None else f'a {type(loss).__name__}'}",
            "return the micro-batch's mean loss, detached",
        )

    @property
    def can_predict(self) -> bool:
        """Whether the module has a ``predict`` or a ``forward`` of its own."""
        return hasattr(self._module, "predict") or (
            type(self._module).forward is not nn.Module.forward
        )

    def predict(self, images: Tensor, rule: str) -> Tensor:
        """See ``Trainable``; without a method of its own, what the module's forward gives."""
        if hasattr(self._module, "predict"):
            logits: Tensor = self._module.predict(images, rule)
        else:
            logits = self._module(images)
        return logits

    def backbone_state(self) -> BackboneState:
        """See ``Trainable``; nothing if the module does not say."""
        if not hasattr(self._module, "backbone_state"):
            return {}
        state = self._module.backbone_state()
        if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
            raise RefusedError(
                f"backbone_state returns a {type(state).__name__} that is no state",
                "return a dictionary of tensors, such as self.backbone.state_dict()",
            )
        return state

    def no_weight_decay(self) -> frozenset[str]:
        """See ``Trainable``; nothing is excluded if the module does not say."""
        if not hasattr(self._module, "no_weight_decay"):
            return frozenset()
        names = self._module.no_weight_decay()
        if isinstance(names, str) or not hasattr(names, "__iter__"):
            raise RefusedError(
                f"no_weight_decay returns a {type(names).__name__}", "return a set of names"
            )
        return frozenset(names)
