"""What an audit is asked for, whom it tells of its progress, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Protocol

from ffprof.audit.plan import Slot
from ffprof.estimator.target import Target
from ffprof.harness.process.guard import Policy
from ffprof.records.audit import Device, Record, Trial, Verdict
from ffprof.workload import Description


@dataclass(frozen=True, kw_only=True)
class Request:
    """An audit to be run: a record, empty or begun, and how to fill it.

    With a ``target`` nothing is measured: trials are estimated for it. ``on_foreign`` says what to
    do about processes of others on the GPU. ``environment`` is set while it runs; None removes a
    variable.
    """

    record: Record
    workloads: tuple[Description, ...]
    device: Device
    path: Path
    context: BaseContext
    judge: Callable[[Record], tuple[Verdict, ...]]
    target: Target | None = None
    on_foreign: Policy = "warn"
    environment: dict[str, str | None] = field(default_factory=dict)


class Progress(Protocol):
    """Told of what happens; it must be quiet between ``trial_starts`` and ``trial_ends``."""

    def proof_starts(self, workload: str, number: int, total: int) -> None:
        """A gradient proof is about to run."""

    def trial_starts(self, slot: Slot, number: int, total: int) -> None:
        """A trial is about to run."""

    def trial_ends(self, trial: Trial, left_seconds: float | None) -> None:
        """A trial is over; ``left_seconds`` forecasts the rest of the audit."""

    def memory_starts(self, workload: str, number: int, total: int) -> None:
        """A workload is about to be run without a limit, for its memory alone."""

    def says(self, text: str) -> None:
        """Something that the user should know now; never while a trial runs."""

    def ends(self) -> None:
        """No more trials."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The record as far as it goes, and why it goes no further."""

    record: Record
    stopped: str | None = None
    interrupt: BaseException | None = None
