"""The terms of a baseline, looked up anew: its budget, its card, its kind of evidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ffprof.cli.new_audit import Terms, cpu_terms, estimated_terms
from ffprof.cli.request import cuda_of
from ffprof.errors import DeviceError, UsageError
from ffprof.estimator.target import target_for
from ffprof.hardware.budget import cuda_budget
from ffprof.hardware.cards import find_card, own_cards, recognise_here
from ffprof.hardware.machine import Probe, describe_machine
from ffprof.hardware.memory_limit import spills
from ffprof.records.audit import Budget, Device, Record
from ffprof.units import format_bytes

_SAME = 0.9  # a GPU with less than this share of another's memory is of another class


def device_again(baseline: Record) -> Device:
    """The device of the baseline's trials; an estimate is one of a step on CUDA."""
    return "cpu" if baseline.evidence == "measured (cpu)" else "cuda"


def need_device(baseline: Record, path: Path, found: Probe) -> None:
    """What was measured on a GPU can be measured again on one only.

    Raises:
        DeviceError: there is none.
    """
    if baseline.evidence in ("measured", "emulated") and not found.cuda:
        raise DeviceError(
            f"{path} was {baseline.evidence} on a GPU, and here is none: {found.reason}",
            "check it where there is one, or gate without one against an estimated baseline: "
            "ffprof run --device estimate makes it",
        )


def terms_again(baseline: Record, path: Path, found: Probe, card_files: Sequence[Path]) -> Terms:
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
        here = describe_machine(found, {})
        terms = estimated_terms(budget, target_for(budget, card, cuda_of(found), here))
        sources = tuple(dict.fromkeys(terms.budget.sources))  # of the process they are there twice
        return Terms(
            budget=terms.budget.model_copy(update={"sources": sources}),
            evidence=terms.evidence,
            notes=terms.notes,
            target=terms.target,
        )
    return _on_gpu(baseline, budget, path, found, card_files)


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
        raise UsageError(f"{path} says no budget", "make a new baseline with ffprof run")
    notes: tuple[str, ...] = ()
    if baseline.evidence == "emulated":
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
        update = {"card": card.name if card else None, "total_bytes": total, "limit_bytes": total}
        budget = budget.model_copy(update=update)
    why = spills()
    if why:
        budget = budget.model_copy(update={"spills": why})
        notes += (f"this driver uses host memory when the GPU is full ({why})",)
    return Terms(budget=budget, evidence=baseline.evidence, notes=notes)
