"""One audit to be run: its recipe, its budget, what its figures are worth, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Literal

from ffprof.audit.request import Request
from ffprof.cli.choose import (
    absent_members,
    change_recipe,
    check_recipe,
    check_rounds,
    choose_preset,
    whole_batches,
)
from ffprof.cli.new_audit import Audit, Terms, cpu_terms, estimated_terms, new_request
from ffprof.cli.options import AskedBudget, Options
from ffprof.cli.own_files import Chosen
from ffprof.estimator.overhead import cuda_version
from ffprof.estimator.target import Target, target_for, with_display
from ffprof.hardware.budget import cuda_budget
from ffprof.hardware.cards import recognise_here
from ffprof.hardware.machine import Probe, check_threads, describe_machine, resolve_threads
from ffprof.hardware.memory_limit import spills
from ffprof.harness.data.discovery import check_data, crowding, resolve_workers
from ffprof.harness.data.source import Found
from ffprof.records.audit import Budget, Device, Evidence, Plan
from ffprof.records.recipe import Recipe
from ffprof.workload import Description

Kind = Literal["cuda", "cpu", "estimate"]
# What of a recipe asked for holds for the audit that is measured beside its estimate, too.
_OF_BOTH = ("seed", "threads", "steps")


@dataclass(frozen=True, kw_only=True)
class Start:
    """What all requests of one command start from."""

    options: Options
    chosen: Chosen
    data: Found | None
    asked: AskedBudget
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
    check_rounds(options.rounds, len(workloads))
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
    terms = _terms(kind, start, paired=paired)
    plan = Plan(
        workloads=tuple(d.id for d in workloads),
        families={d.id: d.family for d in workloads},
        rounds=1 if terms.target else options.rounds,
        trial_limit_seconds=options.time_limit,
        run_limit_seconds=options.run_limit,
        files=start.chosen.files,
    )
    noted = (
        *terms.notes,
        *start.chosen.notes(recipe),
        "" if terms.target else crowding(recipe, device),
        absent_members(recipe, workloads),
    )
    return new_request(
        Audit(recipe=recipe, plan=plan, workloads=workloads, device=device, terms=terms),
        start.found,
        start.server,
        options.out,
        noted,
        options.on_foreign,
    )


def _terms(kind: Kind, start: Start, *, paired: bool) -> Terms:
    if kind == "estimate":
        here = describe_machine(start.found, {})
        asked = start.asked
        budget = with_display(asked.budget) if start.options.display else asked.budget
        target = target_for(budget, asked.card, cuda_of(start.found), here)
        return estimated_terms(budget, target)
    if kind == "cpu":
        idle = "" if paired else _budget_words(start.options)
        note = f"{idle} has no effect here: it limits CUDA memory only" if idle else ""
        requested = "" if paired else start.options.gpu_mem or ""
        return cpu_terms(Budget(requested=requested), (note,))
    budget, evidence, notes = cuda_terms(start)
    return Terms(budget=budget, evidence=evidence, notes=notes)


def _budget_words(options: Options) -> str:
    """What was said about the budget on the command line."""
    words = [f"--gpu-mem {options.gpu_mem}"] if options.gpu_mem else []
    words += [f"--card {options.card}"] if options.card else []
    words += [f"--card-file {path}" for path in options.card_files]
    return " ".join([*words, "--display"] if options.display else words)


def cuda_terms(start: Start) -> tuple[Budget, Evidence, tuple[str, ...]]:
    """Budget, label and notes of an audit on the GPU that was found.

    Raises:
        UsageError: the GPU has less than was asked for.
    """
    options, asked, found = start.options, start.asked, start.found
    total = found.gpu_total_bytes or 0
    here = recognise_here(found.gpu_uuid, found.gpu or "", total, asked.own)
    explicit = options.gpu_mem is not None or asked.named
    budget, evidence, notes = cuda_budget(asked.budget, total, explicit=explicit, here=here)
    if evidence == "measured" and asked.named and asked.card != here:
        notes += (
            f"{asked.budget.card} was asked for: this GPU, {here.name if here else found.gpu}, is "
            "sold with as much memory, and is measured as it is",
        )
    if evidence == "emulated":
        card = asked.card
        budget = _with_its_debit(budget, target_for(asked.budget, card, cuda_of(found)))
    if options.display and evidence == "emulated":
        budget = with_display(budget)
    elif options.display:
        notes += ("--display has no effect on the card itself: what a desktop takes is taken",)
    why = spills()
    if why:
        budget = budget.model_copy(update={"spills": why})
        notes += (
            f"this driver uses host memory when the GPU is full ({why}); the allocator is limited "
            "so that it fails instead",
        )
    return budget, evidence, notes


def _with_its_debit(budget: Budget, target: Target) -> Budget:
    """What context and libraries are estimated to take on the card itself."""
    likely = target.overhead.likely_bytes
    told = tuple(f"on the card itself, estimated: {source}" for source in target.overhead.sources)
    return budget.model_copy(
        update={"target_debit_bytes": likely, "sources": (*budget.sources, *told)}
    )


def cuda_of(found: Probe) -> tuple[int, int] | None:
    """The CUDA version that the installed torch was built for; None for a CPU build."""
    try:
        return cuda_version(found.versions.get("cuda build", ""))
    except ValueError:
        return None
