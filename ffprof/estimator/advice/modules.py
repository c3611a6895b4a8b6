"""Changes of a model's modules that keep what it computes: in place or not, and memory layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from ffprof.estimator.advice.change import Change
from ffprof.estimator.advice.scene import Scene, on_models


def activations(model: nn.Module) -> Iterator[Change]:
    """In place where they are not, and the other way."""
    known = [m.inplace for m in model.modules() if isinstance(getattr(m, "inplace", None), bool)]
    for value, id in ((True, "inplace"), (False, "out-of-place")):
        if (not value) in known:
            yield Change(
                id=id,
                title=f"activations with inplace={value}",
                family="activations",
                effect="same",
                sure=not value,
                note="only where nothing else reads what is overwritten, such as x + act(x)"
                if value
                else "",
                code="for module in model.modules():\n"
                '    if hasattr(module, "inplace"):\n'
                f"        module.inplace = {value}\n",
                applied=lambda build, extra, value=value: on_models(build, _setting(value)),  # type: ignore[misc]
            )


def channels_last(model: nn.Module) -> Iterator[Change]:
    """Convolutions over images with channels last, if they are not."""
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    wide = [w for w in weights if w.shape[1] > 1 and w.shape[2] * w.shape[3] > 1]
    if wide and not all(w.is_contiguous(memory_format=torch.channels_last) for w in wide):
        yield Change(
            id="channels-last",
            title="channels_last",
            family="layout",
            effect="same",
            code="model = model.to(memory_format=torch.channels_last)\n"
            "images = images.to(memory_format=torch.channels_last)\n",
            applied=lambda build, extra: on_models(build, _last),
            channels_last=True,
        )


def _setting(value: bool) -> Callable[[Scene, nn.Module], None]:
    def alter(scene: Scene, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(getattr(module, "inplace", None), bool):
                scene.replace(module, "inplace", value)

    return alter


def _last(scene: Scene, model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.dim() == 4:
            data = parameter.data
            parameter.data = data.to(memory_format=torch.channels_last)
            scene.undo.callback(setattr, parameter, "data", data)
