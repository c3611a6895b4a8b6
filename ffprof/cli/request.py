"""One audit to be run: its recipe, its budget, what its figures are worth, and its file."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Literal

from ffprof import __version__
from ffprof.audit.request import Request
from ffprof.audit.sources.look import check_data, crowding, resolve_workers
from ffprof.audit.sources.words import Found
from ffprof.audit.target import Target, estimated_budget, target_for
from ffprof.cli.choose import (
    absent_members,
    change_recipe,
    check_recipe,
    choose_preset,
    whole_batches,
)
from ffprof.cli.options import Options
from ffprof.cli.own_files import Chosen
from ffprof.cli.starting import trial_context
from ffprof.compare.verdicts import judge
from ffprof.estimator.process import cuda_version
from ffprof.hardware.cards import cuda_budget
from ffprof.hardware.environment import child_environment
from ffprof.hardware.machine import Probe, check_threads, describe_machine, resolve_threads
from ffprof.recipe import Recipe
from ffprof.record import Budget, Device, Evidence, Plan, Record
from ffprof.workload import Description

Kind = Literal["cuda", "cpu", "estimate"]
NO_SPEED = "no speed is estimated, because no profiled card has this size"
# What of a recipe asked for holds for the audit that is measured beside its estimate, too.
_OF_BOTH = ("seed", "threads", "steps")


@dataclass(frozen=True, kw_only=True)
class Start:
    """What all requests of one command start from."""

    options: Options
    chosen: Chosen
    data: Found | None
    asked: Budget
    found: Probe
    server: BaseContext


def asked_recipe(
    options: Options, workloads: tuple[Description, ...], device: Device, data: Found | None
) -> Recipe:
    """The preset with what was asked to be otherwise.

    Raises:
        FfprofError: it is no recipe, or nothing can run under it.
    """
    changes = whole_batches(options.changes, workloads) | (data.changes() if data else {})
    recipe = change_recipe(choose_preset(options.preset, device).recipe, changes)
    check_recipe(recipe, workloads)
    check_data(recipe, data)
    return recipe


def request_for(kind: Kind, start: Start, *, paired: bool) -> Request:
    """The request of one kind; ``paired``: it stands beside one of another kind.

    Raises:
        FfprofError: the audit is impossible.
    """
    options, workloads = start.options, start.chosen.workloads
    device: Device = "cpu" if kind == "cpu" else "cuda"
    data = start.data
    if paired and kind == "cpu":
        kept = {name: options.changes.get(name) for name in _OF_BOTH}
        recipe, data = change_recipe(choose_preset(None, "cpu").recipe, kept), None
        check_recipe(recipe, workloads)
    else:
        recipe = asked_recipe(options, workloads, device, data)
    recipe = resolve_threads(resolve_workers(recipe, device))
    check_threads(recipe)
    check_data(recipe, data)
    wanted = child_environment(recipe)
    budget, evidence, notes, target = _budget(kind, start, paired=paired)
    created = datetime.now(UTC)
    record = Record(
        created=created,
        ffprof=__version__,
        command=shlex.join(["ffprof", *sys.argv[1:]]),
        recipe=recipe,
        recipe_hash=recipe.digest(),
        plan=Plan(
            workloads=tuple(d.id for d in workloads),
            families={d.id: d.family for d in workloads},
            rounds=1 if target else options.rounds,
            trial_limit_seconds=options.time_limit,
            run_limit_seconds=options.run_limit,
            files=start.chosen.files,
        ),
        budget=budget,
        machine=describe_machine(start.found, wanted),
        evidence=evidence,
        notes=tuple(
            note
            for note in (
                *notes,
                *start.chosen.notes(recipe),
                "" if target else crowding(recipe, device),
                absent_members(recipe, workloads),
            )
            if note
        ),
    )
    return Request(
        record=record,
        workloads=workloads,
        device=device,
        path=_path(options.out, recipe.preset, "estimated" if target else device, created),
        context=start.server if target else trial_context(start.server, device),
        judge=judge,
        target=target,
        environment=wanted,
    )


def _budget(
    kind: Kind, start: Start, *, paired: bool
) -> tuple[Budget, Evidence, tuple[str, ...], Target | None]:
    gpu_mem = start.options.gpu_mem
    if kind == "estimate":
        here = describe_machine(start.found, {})
        target = target_for(start.asked, cuda_of(start.found), here)
        notes = [
            "estimated: the step was traced on tensors without memory and replayed through a "
            "simulation of PyTorch's allocator; nothing of this was measured "
            "(docs/estimator.md says how far off such figures were)",
        ]
        if target.card is None:
            notes.append(NO_SPEED)
        return estimated_budget(start.asked, target), "estimated", tuple(notes), target
    if kind == "cpu":
        notes = [
            "measured on a CPU: the peak of live tensors is what the method holds; it is not what "
            "CUDA's allocator would reserve, and says nothing about speed on a GPU",
        ]
        if gpu_mem and not paired:
            notes.append(f"--gpu-mem {gpu_mem} has no effect here: it limits CUDA memory only")
        requested = "" if paired else gpu_mem or ""
        return Budget(requested=requested), "measured (cpu)", tuple(notes), None
    total = start.found.gpu_total_bytes or 0
    explicit = gpu_mem is not None or start.options.card is not None
    return *cuda_budget(start.asked, total, explicit=explicit), None


def cuda_of(found: Probe) -> tuple[int, int] | None:
    """The CUDA version that the installed torch was built for; None for a CPU build."""
    try:
        return cuda_version(found.versions.get("cuda build", ""))
    except ValueError:
        return None


def _path(folder: Path, preset: str, kind: str, created: datetime) -> Path:
    # The process number keeps two audits apart that start in the same second.
    return folder / f"audit-{preset}-{kind}-{created:%Y%m%d-%H%M%S}-{os.getpid()}.json"
