"""A model by its name among the rows: what is asked of it, and what its library answers."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

from ffprof.errors import UsageError
from ffprof.harness.process.child import run_child
from ffprof.harness.process.streams import waiting_for
from ffprof.harness.worker import describe_model_child
from ffprof.records.recipe import Recipe
from ffprof.workload.models import ModelDescription, ModelName
from ffprof.workload.models.library import check_format, check_sizes

LIMIT_SECONDS = 300.0  # for a library to be imported, and a config to come from the hub


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """A model, and the tokens of a sequence, if they are asked for."""

    name: ModelName
    seq: int | None = None

    def changes(self, changes: dict[str, Any]) -> dict[str, Any]:
        """What is to be otherwise in the recipe: the model's name, and its batch in one piece."""
        batch = changes.get("batch")
        batch = self.name.batch if batch is None else batch
        return {**changes, "batch": batch, "micro_batch": batch, "backbone": self.name.id}

    def described(
        self, context: BaseContext, recipe: Recipe, changes: dict[str, Any]
    ) -> tuple[ModelDescription, Recipe]:
        """The model's row, by a child that asks its library, and the recipe with its image size.

        Raises:
            UsageError: there is no such model, or it has no such size.
        """
        with waiting_for(f"looking for {self.name.id}"):
            ending = run_child(context, describe_model_child, (self.name,), LIMIT_SECONDS)
        answers = (ModelDescription, UsageError)
        found = next((one for one in ending.messages if isinstance(one, answers)), None)
        if isinstance(found, UsageError):
            raise found
        if found is None:
            told = ending.reason or f"no answer in {LIMIT_SECONDS:g} s"
            raise UsageError(f"{self.name.id} could not be looked for ({told})", "try it again")
        given = {"seq": self.seq, "image_size": changes.get("image_size")}
        asked = {name: value for name, value in given.items() if value is not None}
        check_sizes(found.id, found.facts, asked)
        if recipe.memory_format == "channels_last":
            check_format(found.id, found.facts)
        for name, value in asked.items():
            found = found.with_size(name, value)
        size = dict(found.sizes).get("image_size", recipe.image_size)
        return found, recipe.model_copy(update={"image_size": size})
