"""What was asked for on the command line of ``ffprof run``, before anything is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffprof.audit.guard import Policy
from ffprof.errors import UsageError
from ffprof.hardware.cards import budget_for, card_budget
from ffprof.record import Budget

DEFAULT_GPU_MEM = "8GB"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for, in the words of the command line; None is what was not given."""

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


def asked_budget(gpu_mem: str | None, card: str | None) -> Budget:
    """The budget of ``--gpu-mem`` or ``--card``, by default that of a card sold with 8GB.

    Raises:
        UsageError: both are given, or one means nothing.
    """
    if card is not None:
        if gpu_mem is not None:
            raise UsageError("--gpu-mem and --card both name a budget", "leave one of them out")
        return card_budget(card)
    return budget_for(DEFAULT_GPU_MEM if gpu_mem is None else gpu_mem)
