"""Advice on a step of the user's own, asked in a child under a budget."""

from __future__ import annotations

import torch

from ffprof.errors import UsageError
from ffprof.estimator.advice.rank import ranked
from ffprof.estimator.advice.scene import Build
from ffprof.estimator.advice.search import Question, advise
from ffprof.estimator.estimate import Estimate
from ffprof.estimator.peaks import estimate_traced
from ffprof.estimator.sizes import resized
from ffprof.estimator.target import Target
from ffprof.estimator.workload import trace_step
from ffprof.hardware.flags import apply_flags
from ffprof.records.estimate import Advice
from ffprof.records.recipe import Recipe
from ffprof.workload.step import StepDescription


def advise_step(description: StepDescription, recipe: Recipe, target: Target) -> Advice:
    """What can be changed about it, tried.

    Raises:
        UsageError: its memory is not known as it is.
    """
    apply_flags(recipe)

    def estimate(build: Build) -> Estimate:
        return estimate_traced(
            trace_step(build, description, recipe, target.capability), recipe, target
        )

    def built(under: Recipe) -> Build:
        return lambda device: description.build(under, device)

    def smaller(parts: int) -> Build | None:
        batch = recipe.batch // parts
        return built(resized(recipe, batch=batch, micro_batch=batch))

    if not target.workspaces:
        raise UsageError("advice counts workspaces", "leave out --no-workspaces")
    question = Question(
        build=built(recipe),
        estimate=estimate,
        budget_bytes=target.total_bytes,
        card=target.card,
        precision=recipe.precision,
        tf32=torch.backends.cuda.matmul.allow_tf32,
        batch=recipe.batch if description.takes_batch else None,
        smaller=smaller,
    )
    return ranked(
        advise(question),
        workload=description.id,
        card=None if target.card is None else target.card.name,
        budget_bytes=target.total_bytes,
    )
