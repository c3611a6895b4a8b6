"""What an audit is estimated for; free of torch."""

from __future__ import annotations

from dataclasses import dataclass

from ffprof.errors import UsageError
from ffprof.estimator.learned import identity_of, learned_overhead
from ffprof.estimator.process import (
    ASSUMED_CAPABILITY,
    ASSUMED_CUDA,
    Overhead,
    process_overhead,
)
from ffprof.estimator.workspaces import WorkspaceModel, model_for
from ffprof.hardware.cards import find_card
from ffprof.recipe import Recipe
from ffprof.record import Budget, Machine


@dataclass(frozen=True, kw_only=True)
class Target:
    """A budget in bytes that CUDA offers, and a card, if one is known."""

    total_bytes: int
    overhead: Overhead
    card: str | None = None
    capability: tuple[int, int] = ASSUMED_CAPABILITY
    workspaces: bool = True

    def model(self, recipe: Recipe) -> WorkspaceModel:
        """What libraries take under a recipe."""
        if not self.workspaces:
            return WorkspaceModel.none()
        return model_for(
            self.capability,
            half=recipe.precision != "fp32",
            tf32=recipe.flags.tf32,
            autotuned=recipe.flags.cudnn_benchmark,
        )


def target_for(
    budget: Budget, cuda: tuple[int, int] | None, machine: Machine | None = None
) -> Target:
    """What a budget asks an estimate for; ``cuda`` is what torch was built for.

    What was measured on this ``machine`` counts if its GPU is the card.

    Raises:
        UsageError: the budget has no size.
    """
    if budget.total_bytes is None:
        raise UsageError("an estimate needs a budget", "name one with --gpu-mem or --card")
    capability = find_card(budget.card).compute_capability if budget.card else ASSUMED_CAPABILITY
    overhead = process_overhead(capability, cuda=cuda or ASSUMED_CUDA)
    return Target(
        total_bytes=budget.total_bytes,
        overhead=_learned(budget, machine) or overhead,
        card=budget.card,
        capability=capability,
    )


def _learned(budget: Budget, machine: Machine | None) -> Overhead | None:
    identity = identity_of(machine) if machine else None
    if identity is None or budget.card is None:
        return None
    try:
        here = find_card(identity.gpu).name
    except UsageError:  # a GPU without a profile is not the card
        return None
    return learned_overhead(identity)[0] if here == budget.card else None


def estimated_budget(budget: Budget, target: Target) -> Budget:
    """The budget with what the process likely takes of it, for the record."""
    overhead = target.overhead
    return budget.model_copy(
        update={
            "debit_bytes": overhead.likely_bytes,
            "limit_bytes": max(0, target.total_bytes - overhead.likely_bytes),
            "sources": (*budget.sources, *overhead.sources),
        }
    )
