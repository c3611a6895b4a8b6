"""A model by its name as a row: its standard step, free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ffprof.records.recipe import Recipe
from ffprof.workload.models.name import ModelName
from ffprof.workload.step import StepDescription

Takes = Literal["tokens", "images"]
FAMILY = "model"
METHOD = "backprop"
LORA = "lora"
SCHEDULE = "a standard step"
SIZE: dict[Takes, str] = {"tokens": "seq", "images": "image_size"}


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a library tells of a model before it is built.

    ``size`` is the tokens of a sequence, or the pixels along a side of an image, where none are
    asked for; ``network`` says what is built, in words.
    """

    takes: Takes
    size: int
    network: str
    channels: int = 3


@dataclass(frozen=True, kw_only=True)
class _Load:
    """Finds the standard step of a model; called in a child only."""

    model: ModelName

    def __call__(self) -> Any:
        from ffprof.workload.models.library import build_step

        def build(device: Any, **arguments: Any) -> Any:
            return build_step(self.model, device, **arguments)

        return build


@dataclass(frozen=True, kw_only=True)
class ModelDescription(StepDescription):
    """A model by its name, under the recipe's batch, precision, memory format and optimizer."""

    model: ModelName
    facts: ModelFacts

    def build(self, recipe: Recipe, device: Any) -> Any:
        """The model's standard step."""
        build: Any = self.load()
        return build(
            device,
            batch=recipe.batch,
            precision=recipe.precision,
            channels_last=recipe.memory_format == "channels_last",
            optimizer=recipe.optimizer,
            **dict(self.sizes),
        )

    def heading(self, recipe: Recipe, varied: Mapping[str, str]) -> str:
        """What is built and fed, in words; ``varied`` has what stands for sizes of several rows."""
        facts = self.facts
        batch = varied.get("batch", recipe.batch)
        ((name, value),) = self.sizes
        size = varied.get(name, value)
        fed = f"batch {batch}, seq {size}, {recipe.precision}"
        if facts.takes == "images":
            format = recipe.memory_format.replace("_", " ")
            fed = f"batch {batch}, {facts.channels}x{size}x{size}, {recipe.precision}, {format}"
        return f"{facts.network}; random {facts.takes}: {fed}, {recipe.optimizer.name}"

    def notes(self, recipe: Recipe) -> tuple[str, ...]:
        """What a reader must know of the row."""
        told = []
        if self.model.lora and recipe.precision != "fp32":
            told.append(f"frozen weights are in {recipe.precision}, adapters in fp32")
        if self.facts.takes == "tokens":
            told.append("img/s counts sequences")
        return tuple(told)


def describe_model(model: ModelName, facts: ModelFacts) -> ModelDescription:
    """The row of a model."""
    return ModelDescription(
        id=model.id,
        method=LORA if model.lora else METHOD,
        schedule=SCHEDULE,
        family=FAMILY,
        summary=facts.network[:100],
        load=_Load(model=model),
        load_backbone=None,
        takes_batch=True,
        sizes=((SIZE[facts.takes], facts.size),),
        model=model,
        facts=facts,
    )
