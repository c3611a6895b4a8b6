"""What was asked for on the command line of ``ffprof run``, before anything is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffprof.errors import UsageError
from ffprof.hardware.budget import budget_for, budget_of
from ffprof.hardware.cards import find_card, own_cards
from ffprof.hardware.profile import Card
from ffprof.harness.process.guard import Policy
from ffprof.records.audit import Budget

DEFAULT_GPU_MEM = "8GB"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for, in the words of the command line; None is what was not given.

    ``estimates``: without a GPU, device auto estimates what was asked for beside what it measures.
    """

    preset: str | None
    workloads: str | None
    workload_files: tuple[Path, ...]
    device: str
    gpu_mem: str | None
    card: str | None
    rounds: int
    changes: dict[str, Any]
    data: str | None
    download: bool
    time_limit: float
    run_limit: float | None
    out: Path
    dry_run: bool = False
    on_foreign: Policy = "warn"
    card_files: tuple[Path, ...] = ()
    display: bool = False
    estimates: bool = True


@dataclass(frozen=True, kw_only=True)
class AskedBudget:
    """A budget, the card that it is of, if one is known, and all cards of the user's files.

    ``named`` is true if a card was meant, not a size or the default.
    """

    budget: Budget
    card: Card | None
    own: tuple[Card, ...] = ()
    named: bool = False


def asked_budget(
    gpu_mem: str | None, card: str | None, card_files: Sequence[Path] = ()
) -> AskedBudget:
    """The budget of ``--gpu-mem``, ``--card`` or ``--card-file``, by default a card sold with 8GB.

    A single file is meant itself; with more, ``--card`` says which.

    Raises:
        UsageError: two of them name a budget, one means nothing, or a file is no profile.
    """
    own = own_cards(card_files)
    if gpu_mem is not None and (own or card is not None):
        both = "--card" if card is not None else "--card-file"
        raise UsageError(f"--gpu-mem and {both} both name a budget", "leave one of them out")
    if card is not None:
        found = find_card(card, own)
        return AskedBudget(budget=budget_of(found), card=found, own=own, named=True)
    if len(own) > 1:
        names = " or ".join(one.name for one in own)
        raise UsageError(f"{len(own)} cards are in --card-file", f"name one with --card: {names}")
    if own:
        return AskedBudget(budget=budget_of(own[0]), card=own[0], own=own, named=True)
    budget = budget_for(DEFAULT_GPU_MEM if gpu_mem is None else gpu_mem)
    return AskedBudget(budget=budget, card=(budget.card and find_card(budget.card)) or None)
