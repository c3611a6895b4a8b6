"""One short run that tells whether a workload fits the budget, and what an estimate proposes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from typing import Protocol

from ffprof.errors import one_line
from ffprof.estimator.sizes import Question
from ffprof.estimator.worker import Border
from ffprof.experiments.attempt import Debits, hold_for, most_taken, probe
from ffprof.harness.process.guard import Guard
from ffprof.harness.process.messages import Failed, Probed
from ffprof.harness.process.monitor import OTHERS, Watching
from ffprof.records.audit import Budget, Debit, Evidence
from ffprof.records.estimate import PeakRow
from ffprof.records.frontier import Capacity, Tried
from ffprof.records.recipe import Recipe
from ffprof.records.redaction import recorded
from ffprof.records.trial import DebitSource
from ffprof.units import format_bytes
from ffprof.workload import Description


@dataclass(frozen=True, kw_only=True)
class CardProbe:
    """Runs a workload in a process of its own, limited to the budget.

    What a workload takes in addition to the allocator is known from its first run on. A run that
    went beyond the card, because that was not known, is made again; one that still does, does not
    fit. So is a run that others on the GPU may have kept from fitting; if they do again, it says
    nothing, and its outcome is ``crashed``. ``child`` stands for ``memory_child`` in tests.
    """

    context: BaseContext
    budget: Budget
    evidence: Evidence
    guard: Guard
    child: Callable[..., None] | None = None
    debits: Debits = field(default_factory=Debits)

    def __call__(self, description: Description, recipe: Recipe, limit_seconds: float) -> Tried:
        """Run it; every ending is an outcome. The ``size`` is the micro-batch."""
        first = self._once(description, recipe, limit_seconds)
        if not first.beyond and not first.others:
            return first.tried
        again = self._once(description, recipe, limit_seconds)
        if not again.others:
            return again.tried
        told = f"{OTHERS}: {again.others}"[:1000]
        return again.tried.model_copy(update={"outcome": "crashed", "message": told})

    def _once(self, description: Description, recipe: Recipe, limit_seconds: float) -> _ProbeRun:
        name = description.id
        hold = hold_for(self.budget, self.evidence, self.debits.get(name, 0))
        if hold is None:
            raise ValueError("there is no budget to run under")
        ending, watching = probe(
            self.context, description, recipe, hold, limit_seconds, self.guard, child=self.child
        )
        size = description.micro_batch(recipe)
        probed = ending.answer(Probed)
        if isinstance(probed, Failed):
            tried = Tried(
                size=size,
                outcome=probed.outcome,
                evidence=self.evidence,
                message=recorded(one_line(probed.message), 1000),
            )
            others = _to_blame(probed, watching) if probed.outcome == "oom" else ""
            return _ProbeRun(tried=tried, others=others)
        self.debits.add(name, probed.debit)
        tried = tried_from(probed, size, self.evidence, watching)
        if not probed.debit.exceeded_bytes:
            return _ProbeRun(tried=tried)  # with others or without, it fitted
        others = "" if probed.debit.source == _SURE else ", ".join(watching.strangers())
        return _ProbeRun(tried=tried, beyond=True, others=others)


# Where a process is distinguished from others, what they take is not taken for its own.
_SURE: DebitSource = "NVML, this process"


@dataclass(frozen=True, kw_only=True)
class _ProbeRun:
    """One run: ``beyond`` the card, or kept from fitting by ``others``, in words."""

    tried: Tried
    beyond: bool = False
    others: str = ""


def _to_blame(failed: Failed, watching: Watching) -> str:
    """Who else may have made this run out of memory; nothing if it reached its own limit."""
    seen = ", ".join(watching.strangers())
    if failed.others:
        return one_line(failed.message) + (f" ({seen})" if seen else "")
    debit = failed.debit
    held = debit is not None and debit.limit_bytes is not None and debit.source == _SURE
    return "" if held else seen


def tried_from(probed: Probed, size: int, evidence: Evidence, watching: Watching) -> Tried:
    """The outcome of a run. One that took more than the card has did not fit."""
    memory, debit = watching.memory(probed.memory), probed.debit
    peaks = (memory.reserved_peak_bytes, memory.cold_reserved_peak_bytes)
    reserved = max((peak for peak in peaks if peak is not None), default=None)
    told = ""
    if debit.exceeded_bytes:
        told = f"it ran, with {format_bytes(debit.exceeded_bytes)} more than the card has"
    return Tried(
        size=size,
        outcome="oom" if debit.exceeded_bytes else "ok",
        evidence=evidence,
        reserved_bytes=reserved,
        process_bytes=_process(memory.process_peak_bytes, reserved, debit),
        message=told,
    )


def _process(seen: int | None, reserved: int | None, debit: Debit) -> int | None:
    """NVML's figure, or else what is reserved with what is taken next to it."""
    if seen is not None or reserved is None:
        return seen
    return reserved + most_taken(debit)


class Identified(Protocol):
    """What a record calls a workload."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def method(self) -> str:
        """Its learning rule."""

    @property
    def family(self) -> str:
        """Of methods."""


def proposed(description: Identified, question: Question, found: Border) -> Capacity:
    """The largest size that is estimated to fit; the next is not.

    A step that cannot be traced is refused at every size, so nothing is proposed.
    """
    n, unit, rows = found.n, found.unit, found.rows
    told = f"{n * unit:,} fits, and larger ones were not tried" if n == found.cap else ""
    unknown = n == 0 and all(row.memory is None for row in rows.values())
    if unknown:
        told = next(row.message for row in rows.values())
    return Capacity(
        workload=description.id,
        method=description.method,
        family=description.family,
        grown=question,
        unit=unit,
        largest=n * unit,
        first_failing=None if unknown or n == found.cap else (n + 1) * unit,
        batch=rows[n].batch if n else None,
        proven=False,
        proposed=None if unknown else n * unit,
        tried=tuple(tried_estimate(number * unit, row) for number, row in rows.items()),
        message=told,
    )


def not_found(description: Description, question: Question, why: str) -> Capacity:
    """Nothing was shown to fit, and why."""
    return Capacity(
        workload=description.id,
        method=description.method,
        family=description.family,
        grown=question,
        largest=0,
        proven=False,
        message=recorded(one_line(why), 1000),
    )


def tried_estimate(size: int, row: PeakRow) -> Tried:
    """A row of an estimate as a size that was tried."""
    return Tried(
        size=size,
        outcome=row.outcome,
        evidence="estimated",
        reserved_bytes=row.memory.reserved_peak_bytes if row.memory else None,
        process_range_bytes=row.memory.process_range_bytes if row.memory else None,
        fit=row.fit.answer if row.fit else None,
        message=row.message,
    )
