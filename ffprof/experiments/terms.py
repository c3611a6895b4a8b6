"""The terms that trials are run under: budget, card, and what their figures are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ffprof.errors import DeviceError, UsageError
from ffprof.estimator.overhead import cuda_version
from ffprof.estimator.target import Target, estimated_budget, target_for, with_display
from ffprof.experiments.options import Options
from ffprof.experiments.session import Kind, Session, Setup
from ffprof.hardware.budget import cuda_budget
from ffprof.hardware.cards import find_card, own_cards, recognise, recognise_here
from ffprof.hardware.machine import Probe
from ffprof.hardware.memory_limit import spills
from ffprof.nulldevice import is_in_use
from ffprof.records.audit import Budget, Device, Evidence, Record, is_limited
from ffprof.units import format_bytes

NO_SPEED = "no speed is estimated, because no profiled card has this size"
_NOTHING_COMPUTED = (
    "on a null device: memory is PyTorch's own bookkeeping on a card that is only described; "
    "cuDNN's workspaces are modelled, and what context and libraries take is assumed; kernels do "
    "nothing, so there are no speeds, losses or energy"
)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What an audit is limited to, what its figures are, and what is to be said of that."""

    budget: Budget
    evidence: Evidence
    notes: tuple[str, ...] = ()
    target: Target | None = None


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


def terms_for(kind: Kind, setup: Setup, *, paired: bool) -> Terms:
    """Those of one kind of evidence; ``paired``: it stands next to one of another kind.

    Raises:
        UsageError: the GPU has less than was requested.
    """
    if kind == "estimate":
        asked, session = setup.budget, setup.session
        budget = with_display(asked.budget) if setup.options.display else asked.budget
        target = target_for(budget, asked.card, cuda_of(session.found), session.machine())
        return estimated_terms(budget, target)
    if kind == "cpu":
        idle = "" if paired else _budget_words(setup.options)
        note = f"{idle} has no effect here: it limits CUDA memory only" if idle else ""
        requested = "" if paired else setup.options.gpu_mem or ""
        return cpu_terms(Budget(requested=requested), (note,))
    budget, evidence, notes = cuda_terms(setup)
    return Terms(budget=budget, evidence=evidence, notes=notes)


def _budget_words(options: Options) -> str:
    """What was said about the budget on the command line."""
    words = [f"--gpu-mem {options.gpu_mem}"] if options.gpu_mem else []
    words += [f"--card {options.card}"] if options.card else []
    words += [f"--card-file {path}" for path in options.card_files]
    return " ".join([*words, "--display"] if options.display else words)


def cuda_terms(setup: Setup) -> tuple[Budget, Evidence, tuple[str, ...]]:
    """Budget, label and notes of an audit on the GPU that was found.

    Raises:
        UsageError: the GPU has less than was requested.
    """
    options, asked, found = setup.options, setup.budget, setup.session.found
    total = found.gpu_total_bytes or 0
    here = recognise_here(found.gpu_uuid, found.gpu or "", total, asked.own)
    explicit = options.gpu_mem is not None or asked.named
    budget, evidence, notes = cuda_budget(asked.budget, total, explicit=explicit, here=here)
    if evidence == "measured" and asked.named and asked.card != here:
        notes += (
            f"{asked.budget.card} was requested: this GPU, {here.name if here else found.gpu}, is "
            "sold with as much memory, and is measured as it is",
        )
    if evidence == "emulated":
        card = asked.card
        budget = _with_its_debit(budget, target_for(asked.budget, card, cuda_of(found)))
    if is_in_use():
        evidence = "emulated"
        notes += (_NOTHING_COMPUTED,)
    if options.display and is_limited(budget, evidence):
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


def target_here(record: Record, setup: Setup) -> Target:
    """What is estimated before it is measured on the GPU that was found.

    Memory under the record's budget, and the speed of this GPU, if it has a profile. What
    libraries take for their work depends on the GPU that runs.
    """
    found, asked = setup.session.found, setup.budget
    here = recognise(found.gpu or "", None, found.gpu_total_bytes, asked.own)
    card = asked.card if is_limited(record.budget, record.evidence) else here
    target = target_for(record.budget, card, cuda_of(found), record.machine)
    runs = found.capability or (here and here.compute_capability) or target.capability
    return replace(target, card=here or target.card, capability=runs)


def cuda_of(found: Probe) -> tuple[int, int] | None:
    """The CUDA version that the installed torch was built for; None for a CPU build."""
    try:
        return cuda_version(found.versions.get("cuda build", ""))
    except ValueError:
        return None


_SAME = 0.9  # a GPU with less than this share of another's memory is of another class


def device_again(baseline: Record) -> Device:
    """The device of the baseline's trials; an estimate is one of a step on CUDA."""
    return "cpu" if baseline.evidence == "measured (cpu)" else "cuda"


def need_device(baseline: Record, path: Path, found: Probe) -> None:
    """What was measured on a GPU can be measured again on one only.

    Raises:
        DeviceError: there is none.
    """
    if baseline.machine.null_device and not is_in_use():
        raise DeviceError(
            f"{path} was made on a null device, and this process is on none",
            f"use the command, which begins on it: ffprof check --baseline {path}",
        )
    if baseline.evidence in ("measured", "emulated") and not found.cuda:
        raise DeviceError(
            f"{path} was {baseline.evidence} on a GPU, and here is none: {found.reason}",
            "check it where there is one, or gate without one against an estimated baseline: "
            "ffprof run --device estimate makes it",
        )


def terms_again(
    baseline: Record, path: Path, session: Session, card_files: Sequence[Path]
) -> Terms:
    """Budget, evidence and notes as in the baseline, or an error.

    Raises:
        DeviceError: this GPU cannot stand for what the baseline was measured on.
        UsageError: its card is not known here.
    """
    budget = _as_it_began(baseline.budget)
    if baseline.evidence == "measured (cpu)":
        return cpu_terms(budget)
    if baseline.evidence == "estimated":
        own = own_cards(card_files)
        card = None if budget.card is None else find_card(budget.card, own)
        target = target_for(budget, card, cuda_of(session.found), session.machine())
        terms = estimated_terms(budget, target)
        sources = tuple(dict.fromkeys(terms.budget.sources))  # of the process they are there twice
        return Terms(
            budget=terms.budget.model_copy(update={"sources": sources}),
            evidence=terms.evidence,
            notes=terms.notes,
            target=terms.target,
        )
    return _on_gpu(baseline, budget, path, session.found, card_files)


def _as_it_began(budget: Budget) -> Budget:
    """Without what was found out while it ran."""
    total = budget.total_bytes
    limit = None if total is None else max(0, total - budget.display_bytes)
    return budget.model_copy(update={"debit_bytes": None, "limit_bytes": limit, "spills": ""})


def _on_gpu(
    baseline: Record, budget: Budget, path: Path, found: Probe, card_files: Sequence[Path]
) -> Terms:
    total, was = found.gpu_total_bytes or 0, budget.total_bytes
    if was is None:
        raise UsageError(f"{path} has no budget", "make a new baseline with ffprof run")
    if is_in_use() and not baseline.machine.null_device:
        raise DeviceError(
            f"{path} was made on a GPU, and this is a null device",
            "check it on a GPU, or make a baseline here with ffprof run",
        )
    notes: tuple[str, ...] = ()
    if is_limited(baseline.budget, baseline.evidence):
        budget, evidence, notes = cuda_budget(budget, total, explicit=False)
        if evidence != "emulated":
            raise DeviceError(
                f"{path} was emulated on a larger GPU, and this one has {format_bytes(total)}",
                "check it on a larger one, or make a baseline here with ffprof run",
            )
    else:
        if not _SAME * was < total < was / _SAME:
            raise DeviceError(
                f"{path} was measured on a GPU with {format_bytes(was)}, and this one has "
                f"{format_bytes(total)}",
                "check it on one of that size, or make a baseline here with ffprof run",
            )
        card = recognise_here(found.gpu_uuid, found.gpu or "", total, own_cards(card_files))
        own = {"card": card.name if card else None, "total_bytes": total, "limit_bytes": total}
        budget = budget.model_copy(update={**own, "whole_gpu": True})
    if is_in_use():
        notes += (_NOTHING_COMPUTED,)
    why = spills()
    if why:
        budget = budget.model_copy(update={"spills": why})
        notes += (f"this driver uses host memory when the GPU is full ({why})",)
    return Terms(budget=budget, evidence=baseline.evidence, notes=notes)
