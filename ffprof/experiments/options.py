"""What was requested, before anything is looked up.

Imports nothing that takes time: every command's ``--help`` reads this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffprof.errors import UsageError

if TYPE_CHECKING:
    from ffprof.hardware.profile import Card
    from ffprof.harness.process.guard import Policy
    from ffprof.records.audit import Budget

DEFAULT_GPU_MEM = "8GB"
# What a recipe may have otherwise than its preset; the data are looked at first.
CHANGES = (
    "backbone", "width", "norm", "image_size", "batch", "micro_batch", "precision",
    "memory_format", "data_workers", "seed", "threads", "steps",
)  # fmt: skip


MOST_SECONDS = 36_000_000  # 10,000 hours: limits end something


def check_seconds(name: str, seconds: float) -> None:
    """Whether a limit can be meant.

    Raises:
        UsageError: it cannot.
    """
    if not 0 < seconds <= MOST_SECONDS:  # nor can what is no number
        raise UsageError(
            f"--{name.replace('_', '-')} {seconds:g} is no time to wait for",
            f"name seconds, more than 0 to {MOST_SECONDS:,}",
        )


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user requested, in the words of the command line; None is what was not given.

    ``estimates``: without a GPU, device auto estimates what was requested in addition to what it
    measures.
    """

    preset: str | None = None
    workloads: str | None = None
    workload_files: tuple[Path, ...] = ()
    device: str = "auto"
    gpu_mem: str | None = None
    card: str | None = None
    card_files: tuple[Path, ...] = ()
    display: bool = False
    backbone: str | None = None
    width: float | None = None
    norm: str | None = None
    image_size: int | None = None
    batch: int | None = None
    micro_batch: int | None = None
    precision: str | None = None
    memory_format: str | None = None
    data: str | None = None
    data_workers: int | None = None
    download: bool = False
    seed: int | None = None
    threads: int | None = None
    steps: int | None = None
    rounds: int = 3
    on_foreign: Policy = "warn"
    time_limit: float = 600.0
    run_limit: float | None = None
    out: Path = Path("audits")
    dry_run: bool = False
    estimates: bool = True

    def __post_init__(self) -> None:
        check_seconds("time_limit", self.time_limit)
        if self.run_limit is not None:
            check_seconds("run_limit", self.run_limit)

    @property
    def changes(self) -> dict[str, Any]:
        """What is to be otherwise than in the preset, by the recipe's field; None where nothing."""
        return {name: getattr(self, name) for name in CHANGES}


@dataclass(frozen=True, kw_only=True)
class BudgetChoice:
    """A budget, the card that it is of, if one is known, and all cards of the user's files.

    ``named`` is true if a card was meant, not a size or the default.
    """

    budget: Budget
    card: Card | None
    own: tuple[Card, ...] = ()
    named: bool = False


def choose_budget(
    gpu_mem: str | None, card: str | None, card_files: Sequence[Path] = ()
) -> BudgetChoice:
    """The budget of ``--gpu-mem``, ``--card`` or ``--card-file``, by default a card sold with 8GB.

    A single file is meant itself; with more, ``--card`` says which.

    Raises:
        UsageError: two of them name a budget, one means nothing, or a file is no profile.
    """
    from ffprof.hardware.budget import budget_for, budget_of
    from ffprof.hardware.cards import find_card, own_cards

    own = own_cards(card_files)
    if gpu_mem is not None and (own or card is not None):
        both = "--card" if card is not None else "--card-file"
        raise UsageError(f"--gpu-mem and {both} both name a budget", "leave one of them out")
    if card is not None:
        found = find_card(card, own)
        return BudgetChoice(budget=budget_of(found), card=found, own=own, named=True)
    if len(own) > 1:
        names = " or ".join(one.name for one in own)
        raise UsageError(f"{len(own)} cards are in --card-file", f"name one with --card: {names}")
    if own:
        return BudgetChoice(budget=budget_of(own[0]), card=own[0], own=own, named=True)
    budget = budget_for(DEFAULT_GPU_MEM if gpu_mem is None else gpu_mem)
    return BudgetChoice(budget=budget, card=(budget.card and find_card(budget.card)) or None)
