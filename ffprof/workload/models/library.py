"""From a model's name to its library: what it tells of the model, its step, and ``ffprof.model``.

Free of torch until a function is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from ffprof.errors import UsageError
from ffprof.records.recipe import Optimizer, Precision
from ffprof.workload.models.description import (
    SIZE,
    ModelDescription,
    ModelFacts,
    describe_model,
)
from ffprof.workload.models.name import ModelName, parse_model

Build = Callable[..., Callable[[], object]]


def facts_of(model: ModelName) -> ModelFacts:
    """What its library tells of a model; nothing is built.

    Raises:
        UsageError: its library is not installed, or has no such model, or not one that a standard
            step is known for.
    """
    if model.library == "hf":
        from ffprof.workload.models.transformer import facts_of as of_transformers

        return of_transformers(model)
    from ffprof.workload.models.vision import facts_of as of_vision

    return of_vision(model)


def describe(model: ModelName) -> ModelDescription:
    """The row of a model.

    Raises:
        UsageError: as ``facts_of``.
    """
    return describe_model(model, facts_of(model))


def build_step(
    model: ModelName,
    device: Any,
    *,
    batch: int,
    precision: Precision = "fp32",
    channels_last: bool = False,
    optimizer: Optimizer | None = None,
    **size: int,
) -> Callable[[], object]:
    """Build a model with random weights and a batch of random data, and return its step.

    Raises:
        UsageError: there is no such model.
        RefusedError: it cannot be built, or not of that size.
    """
    from ffprof.workload.models.training import standard_step

    if model.library == "hf":
        from ffprof.workload.models.transformer import network_of as of_transformers

        network = of_transformers(
            model, device, batch, precision=precision, channels_last=channels_last, **size
        )
    else:
        from ffprof.workload.models.vision import network_of as of_vision

        network = of_vision(model, device, batch, channels_last=channels_last, **size)
    return standard_step(network, device, precision, optimizer or Optimizer())


def model(
    name: str,
    *,
    batch: int | None = None,
    seq: int | None = None,
    image_size: int | None = None,
    precision: Precision = "fp32",
    lora: int | None = None,
    channels_last: bool = False,
) -> Build:
    """A ``build(device, batch, seq or image_size)`` for ``ffprof.estimate``, by a model's name.

    The step is that of ``ffprof estimate NAME``: the model with random weights, a batch of random
    tokens or images and labels on the device, forward, loss, backward, AdamW, and gradients set to
    None. Nothing is downloaded but a config.json, and no code of a model's repository is run.

    Args:
        name: ``hf:`` with a name of the Hugging Face Hub, a folder or a config.json;
            ``timm:NAME``; or ``torchvision:NAME``.
        batch: examples a step; by default 8 of ``hf:``, else 64.
        seq: tokens of a sequence; by default 512, or as many as the model takes.
        image_size: pixels along each side; by default those of the model.
        precision: ``fp32``, or ``bf16`` and ``fp16``, which are autocast over float32 weights.
        lora: the rank of adapters on the attention projections, by peft, which are trained in
            place of the model. What is frozen has no float32 copy under ``bf16`` and ``fp16``.
        channels_last: the memory format of images and weights.

    Raises:
        UsageError: there is no such model, its library is not installed, or it has no such size.
    """
    if not isinstance(name, str):
        raise UsageError(f"name={name!r}", "give a text, such as 'torchvision:resnet50'")
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise UsageError(f"precision={precision!r}", f"write one of {known}")
    found = parse_model(name, lora)
    facts = facts_of(found)
    given = {"seq": seq, "image_size": image_size}
    own = SIZE[facts.takes]
    check_sizes(found.id, facts, {one: value for one, value in given.items() if value is not None})
    if channels_last:
        check_format(found.id, facts)
    examples = found.batch if batch is None else batch
    check_count("batch", examples)
    value = given[own]
    default = facts.size if value is None else value
    more: dict[str, Any] = {"precision": precision, "channels_last": channels_last}
    # Two of them, because their sizes are read off their arguments.
    if facts.takes == "tokens":

        def of_tokens(device: Any, batch: int = examples, seq: int = default) -> Any:
            return build_step(found, device, batch=batch, seq=seq, **more)

        return of_tokens

    def of_images(device: Any, batch: int = examples, image_size: int = default) -> Any:
        return build_step(found, device, batch=batch, image_size=image_size, **more)

    return of_images


def check_sizes(name: str, facts: ModelFacts, given: dict[str, int]) -> None:
    """Refuse a size that a model has not.

    Raises:
        UsageError: one is not its size, or is less than 1.
    """
    own = SIZE[facts.takes]
    for size, value in given.items():
        word = size.replace("_", "-")
        if size != own:
            raise UsageError(
                f"{name} takes {facts.takes}, and has no {word}",
                f"leave it out; it takes {own.replace('_', '-')}",
            )
        check_count(word, value)


def check_count(name: str, value: object) -> None:
    """Refuse what is no size.

    Raises:
        UsageError: it is no whole number, or less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} {value!r} is no size", "give 1 or more")


def check_format(name: str, facts: ModelFacts) -> None:
    """Refuse channels that are last where there are none.

    Raises:
        UsageError: the model takes no images.
    """
    if facts.takes != "images":
        raise UsageError(f"{name} takes {facts.takes}, which have no channels", "leave that out")
