"""Image classifiers of torchvision and timm, by their names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ffprof.errors import RefusedError, UsageError, did_you_mean
from ffprof.workload.models.description import ModelFacts
from ffprof.workload.models.name import ModelName
from ffprof.workload.models.package import imported, told
from ffprof.workload.models.training import Network

_IMAGE_SIZE = 224
_CLASSES = 1000
# What builders of torchvision are told the image size by, where the network depends on it.
_SIZE_ARGUMENTS = {"vit_": "image_size", "maxvit_": "input_size"}
# Whose builders warn, and draw weights slowly, unless they are told to draw them.
_TOLD_TO_DRAW = ("googlenet", "inception_v3")


def facts_of(model: ModelName) -> ModelFacts:
    """What the library tells of a model; nothing is built.

    Raises:
        UsageError: there is no such model, or it is none that classifies images.
    """
    if model.library == "timm":
        return _of_timm(model.name)
    return _of_torchvision(model.name)


def _of_torchvision(name: str) -> ModelFacts:
    torchvision = imported("torchvision", "torchvision:")
    models = torchvision.models
    classifiers = models.list_models(module=models)
    if name not in classifiers:
        if name in models.list_models():
            raise UsageError(
                f"torchvision:{name} does not classify images, and no standard step is known for "
                "it",
                "write a build(device) for it in a --workload-file",
            )
        raise _unknown("torchvision", name, classifiers)
    preprocess = models.get_model_weights(name).DEFAULT.transforms
    size = getattr(preprocess, "keywords", {}).get("crop_size", _IMAGE_SIZE)
    version = torchvision.__version__
    return ModelFacts(
        takes="images",
        # That of its newest weights, unless the builder's own is another one.
        size=_IMAGE_SIZE if _size_argument(name) else int(size),
        network=f"{name} of torchvision {version}, {_CLASSES} classes",
    )


def _of_timm(name: str) -> ModelFacts:
    timm = imported("timm", "timm:")
    if not name.replace("_", "").replace("-", "").replace(".", "").isalnum() or not timm.is_model(
        name
    ):
        raise _unknown("timm", name.partition(".")[0], timm.list_models())
    config = timm.get_pretrained_cfg(name)
    channels, size = (3, _IMAGE_SIZE) if config is None else config.input_size[:2]
    return ModelFacts(
        takes="images",
        size=int(size),
        channels=int(channels),
        network=f"{name} of timm {timm.__version__}, {_timm_classes(config)} classes",
    )


def _timm_classes(config: Any) -> int:
    """Networks without a head get one."""
    return int(getattr(config, "num_classes", 0) or _CLASSES)


def _unknown(library: str, name: str, known: list[str]) -> UsageError:
    near = did_you_mean(name, known)
    listed = f"{library}.list_models()" if library == "timm" else "torchvision.models.list_models()"
    return UsageError(f"{library} has no model {name!r}", f"{near}{listed} lists all")


def _size_argument(name: str) -> str:
    return next((word for start, word in _SIZE_ARGUMENTS.items() if name.startswith(start)), "")


def network_of(
    model: ModelName, device: Any, batch: int, *, channels_last: bool, image_size: int
) -> Network:
    """The network with random weights, and the cross-entropy of random images and labels.

    Raises:
        RefusedError: it cannot be built for such images.
    """
    facts = facts_of(model)
    try:
        module: Any = _built(model, facts, image_size)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise RefusedError(
            f"it cannot be built for images of {image_size}x{image_size} ({told(error)})",
            "name another size",
        ) from error
    format = torch.channels_last if channels_last else torch.contiguous_format
    module.train()
    module.to(device, memory_format=format)
    shape = (batch, facts.channels, image_size, image_size)
    images = torch.randn(shape, device=device).contiguous(memory_format=format)
    classes = int(getattr(module, "num_classes", _CLASSES))
    labels = torch.randint(0, classes, (batch,), device=device)
    return Network(module=module, loss=lambda: _loss(module(images), labels))


def _built(model: ModelName, facts: ModelFacts, image_size: int) -> nn.Module:
    name, more = model.name, dict[str, Any]()
    if model.library == "timm":
        timm = imported("timm", "timm:")
        config = timm.get_pretrained_cfg(name)
        if getattr(config, "fixed_input_size", False) and image_size != facts.size:
            more["img_size"] = image_size
        built: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=_timm_classes(config), **more
        )
        return built
    word = _size_argument(name)
    if word:
        more[word] = image_size if word == "image_size" else (image_size, image_size)
    if name in _TOLD_TO_DRAW:
        more["init_weights"] = True
    made: nn.Module = imported("torchvision", "torchvision:").models.get_model(
        name, weights=None, **more
    )
    return made


def _loss(given: Any, labels: Tensor) -> Tensor:
    """The cross-entropy, of auxiliary heads as well where there are any."""
    heads = given if isinstance(given, tuple | list) else (given,)
    losses = [F.cross_entropy(head, labels) for head in heads if head is not None]
    return losses[0] if len(losses) == 1 else sum(losses[1:], losses[0])
