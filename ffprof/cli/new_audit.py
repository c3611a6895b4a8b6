"""A new audit's request, whether it was asked for in words or by a record that is made again."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import BaseContext
from pathlib import Path

from ffprof import __version__
from ffprof.analysis.verdicts import judge
from ffprof.audit.request import Request
from ffprof.cli.starting import trial_context
from ffprof.estimator.target import Target, estimated_budget
from ffprof.hardware.environment import child_environment
from ffprof.hardware.machine import Probe, describe_machine
from ffprof.harness.process.guard import Policy
from ffprof.records.audit import Budget, Device, Evidence, Plan, Record
from ffprof.records.recipe import Recipe
from ffprof.workload import Description

NO_SPEED = "no speed is estimated, because no profiled card has this size"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What an audit is held to, what its figures are, and what is to be said of that."""

    budget: Budget
    evidence: Evidence
    notes: tuple[str, ...] = ()
    target: Target | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What is to be found out, and under which terms; ``workloads`` are those of the plan."""

    recipe: Recipe
    plan: Plan
    workloads: tuple[Description, ...]
    device: Device
    terms: Terms


def estimated_terms(budget: Budget, target: Target) -> Terms:
    """Those of an estimate for a target."""
    notes = (
        "estimated: the step was traced on tensors without memory and replayed through a "
        "simulation of PyTorch's allocator; nothing of this was measured "
        "(docs/estimator.md says how far off such figures were)",
    )
    return Terms(
        budget=estimated_budget(budget, target),
        evidence="estimated",
        notes=notes if target.card else (*notes, NO_SPEED),
        target=target,
    )


def cpu_terms(budget: Budget, notes: tuple[str, ...] = ()) -> Terms:
    """Those of what is measured on a processor."""
    told = (
        "measured on a CPU: the peak of live tensors is what the method holds; it is not what "
        "CUDA's allocator would reserve, and says nothing about speed on a GPU"
    )
    return Terms(budget=budget, evidence="measured (cpu)", notes=(told, *notes))


def new_request(
    audit: Audit,
    found: Probe,
    server: BaseContext,
    out: Path,
    notes: Sequence[str | None],
    on_foreign: Policy = "warn",
) -> Request:
    """The request with a record that is empty, for a new file in ``out``; empty notes are dropped.

    Args:
        audit: what to find out.
        found: what torch found on this machine.
        server: children are forked from it.
        out: the folder, made before the request is run.
        notes: what the reader must know.
        on_foreign: what to do about processes of others on the GPU.
    """
    recipe, terms = audit.recipe, audit.terms
    wanted = child_environment(recipe)
    created = datetime.now(UTC)
    record = Record(
        created=created,
        ffprof=__version__,
        command=shlex.join(["ffprof", *sys.argv[1:]]),
        recipe=recipe,
        recipe_hash=recipe.digest(),
        plan=audit.plan,
        budget=terms.budget,
        machine=describe_machine(found, wanted),
        evidence=terms.evidence,
        notes=tuple(note for note in notes if note),
    )
    kind = "estimated" if terms.target else audit.device
    return Request(
        record=record,
        workloads=audit.workloads,
        device=audit.device,
        path=_path(out, recipe.preset, kind, created),
        context=server if terms.target else trial_context(server, audit.device),
        judge=judge,
        target=terms.target,
        on_foreign=on_foreign,
        environment=wanted,
    )


def _path(folder: Path, preset: str, kind: str, created: datetime) -> Path:
    # The process number keeps two audits apart that start in the same second.
    return folder / f"audit-{preset}-{kind}-{created:%Y%m%d-%H%M%S}-{os.getpid()}.json"
