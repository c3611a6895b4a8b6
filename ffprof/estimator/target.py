"""What an audit is estimated for; free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ffprof.errors import UsageError, one_line
from ffprof.estimator.cuda.workspaces import NEWEST_KNOWN, WorkspaceModel, model_for
from ffprof.estimator.overhead import (
    ASSUMED_CAPABILITY,
    ASSUMED_CUDA,
    Overhead,
    display_overhead,
    identity_of,
    learned_overhead,
    process_overhead,
)
from ffprof.hardware.cards import recognise
from ffprof.hardware.profile import Card
from ffprof.harness.process.messages import Failed, Finished, Report
from ffprof.records.audit import Budget, Conditions, Fact, Machine, Outcome
from ffprof.records.estimate import PeakRow
from ffprof.records.recipe import Recipe
from ffprof.records.redaction import recorded
from ffprof.units import format_bytes
from ffprof.workload import Description


@dataclass(frozen=True, kw_only=True)
class Target:
    """The bytes that CUDA offers, less what a desktop takes, and the card, if one is known."""

    total_bytes: int
    overhead: Overhead
    card: Card | None = None
    capability: tuple[int, int] = ASSUMED_CAPABILITY
    workspaces: bool = True

    def model(self, recipe: Recipe, release: tuple[int, int] = NEWEST_KNOWN) -> WorkspaceModel:
        """What libraries take under a recipe, with that release of torch."""
        if not self.workspaces:
            return WorkspaceModel.none()
        sizes = {} if self.card is None else {"multiprocessors": self.card.sm_count}
        return model_for(
            self.capability,
            **sizes,
            half=recipe.precision != "fp32",
            tf32=recipe.flags.tf32,
            autotuned=recipe.flags.cudnn_benchmark,
            release=release,
        )


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """What a child answers: the row, and what a trial needs next to it; free of torch.

    ``load`` is what it needs of what the budget has for certain, if that was asked.
    """

    row: PeakRow
    facts: dict[str, Fact] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)
    load: float | None = None

    def trial(self) -> Finished | Failed:
        """The same in the form of a measured trial."""
        row = self.row
        if row.memory is None:
            return Failed(outcome=row.outcome, message=row.message)
        report = Report(
            memory=row.memory,
            throughput=row.throughput,
            loss=None,
            conditions=Conditions(),
            facts=self.facts,
            operators=self.operators,
        )
        if row.outcome != "ok":
            return Failed(outcome=row.outcome, message=row.message, report=report)
        return Finished(report=report)


def target_for(
    budget: Budget,
    card: Card | None,
    cuda: tuple[int, int] | None,
    machine: Machine | None = None,
) -> Target:
    """What a budget asks an estimate for; ``cuda`` is what torch was built for.

    What was measured on this ``machine`` counts if its GPU is the card.

    Raises:
        UsageError: the budget has no size.
    """
    if budget.total_bytes is None:
        raise UsageError("an estimate needs a budget", "name one with --gpu-mem or --card")
    capability = card.compute_capability if card else ASSUMED_CAPABILITY
    overhead = process_overhead(capability, cuda=cuda or ASSUMED_CUDA)
    return Target(
        total_bytes=max(0, budget.total_bytes - budget.display_bytes),
        overhead=_learned(card, machine) or overhead,
        card=card,
        capability=capability,
    )


def _learned(card: Card | None, machine: Machine | None) -> Overhead | None:
    identity = identity_of(machine) if machine else None
    if identity is None or card is None or machine is None:
        return None
    here = recognise(identity.gpu, None, machine.gpu_total_bytes, (card,))
    return learned_overhead(identity)[0] if here == card else None


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


def with_display(budget: Budget) -> Budget:
    """The budget of a card that also drives a desktop: less what that likely takes."""
    taken = display_overhead()
    return budget.model_copy(
        update={
            "display_bytes": taken.likely_bytes,
            "limit_bytes": max(0, (budget.limit_bytes or 0) - taken.likely_bytes),
            "sources": (*budget.sources, *taken.sources),
        }
    )


def check_room(budget: Budget, card: Card | None) -> None:
    """A budget must be more than context and libraries likely take.

    Raises:
        UsageError: it is not, so nothing could ever fit.
    """
    if budget.total_bytes is None:
        return
    capability = card.compute_capability if card else ASSUMED_CAPABILITY
    least = process_overhead(capability, cuda=ASSUMED_CUDA).likely_bytes
    room = budget.total_bytes - budget.display_bytes
    if room <= least:
        drawn = format_bytes(budget.display_bytes)
        display = f", {drawn} of it for a desktop," if budget.display_bytes else ""
        raise UsageError(
            f"a budget of {format_bytes(budget.total_bytes)}{display} is less than CUDA's context "
            f"and libraries likely take ({format_bytes(least)}), so nothing is left for tensors",
            f"ask for more than {format_bytes(least + budget.display_bytes)}",
        )


def bare_row(
    description: Description,
    recipe: Recipe,
    target: Target,
    outcome: Outcome,
    message: str,
    **figures: Any,
) -> PeakRow:
    """The row of a workload with these figures, or with none and the reason."""
    overhead = target.overhead
    return PeakRow(
        workload=description.id,
        method=description.method,
        schedule=description.schedule,
        family=description.family,
        batch=recipe.batch,
        micro_batch=description.micro_batch(recipe),
        image_size=recipe.image_size,
        backbone=recipe.backbone,
        outcome=outcome,
        message=recorded(one_line(message), 1000),
        card=target.card and target.card.name,
        budget_bytes=target.total_bytes,
        overhead_bytes=(overhead.low_bytes, overhead.likely_bytes, overhead.high_bytes),
        allocator_conf=recipe.flags.allocator_conf,
        workspaces=target.workspaces,
        **figures,
    )
