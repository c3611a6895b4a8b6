"""One short run on the GPU that says whether a workload fits under the budget.

What is run, and how it is held to the budget, is named in ``card_probe`` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

from ffprof.audit.child import trial_child
from ffprof.audit.messages import Failed, Finished, Probed
from ffprof.audit.own_file import address
from ffprof.audit.process import Ending, run_child
from ffprof.audit.questions import resized
from ffprof.audit.trials import Sampling
from ffprof.errors import one_line
from ffprof.frontier_record import Tried
from ffprof.recipe import Recipe
from ffprof.record import Debit, Evidence, Memory, Outcome
from ffprof.units import format_bytes
from ffprof.workload import Description

_STEPS = {"warmup_steps": 2, "steps": 1, "min_steps": 1}  # three whole ones, none worth timing


@dataclass(frozen=True, kw_only=True)
class CardProbe:
    """Runs a workload in a process of its own.

    ``child(connection, address, recipe, *held)`` sends ``Ready`` and then ``Probed``, ``Finished``
    or ``Failed``; ``held`` is what holds it to the budget.
    """

    context: BaseContext
    child: Callable[..., None]
    held: tuple[Any, ...]
    evidence: Evidence

    def __call__(self, description: Description, recipe: Recipe, limit_seconds: float) -> Tried:
        """Run it; every ending is an outcome. The ``size`` is the micro-batch."""
        sampling = Sampling()
        arguments = (address(description), recipe, *self.held)
        try:
            ending = run_child(
                self.context,
                self.child,
                arguments,
                limit_seconds,
                on_message=sampling.on_message,
                tick=sampling.take,
            )
        finally:
            sampling.close()
        return tried_from(ending, description.micro_batch(recipe), self.evidence, sampling)


def card_probe(context: BaseContext, limit_bytes: int | None, evidence: Evidence) -> CardProbe:
    """The run on this GPU, held to ``limit_bytes`` with everything that the process takes."""

    return CardProbe(
        context=context,
        child=short_trial_child,
        held=("cuda", limit_bytes),
        evidence=evidence,
    )


def short_trial_child(sender: Any, workload: Any, recipe: Recipe, *held: Any) -> None:
    """A trial of as few steps as there may be."""
    trial_child(sender, workload, resized(recipe, **_STEPS), *held)


def tried_from(ending: Ending, size: int, evidence: Evidence, sampling: Sampling) -> Tried:
    """What became of a run. One that took more than the card has did not fit."""
    memory, debit = _figures(ending)
    if memory is None or ending.kind == "timeout":
        outcome, message = _why(ending)
        return Tried(size=size, outcome=outcome, evidence=evidence, message=message)
    memory = sampling.add_to(memory)
    peaks = (memory.reserved_peak_bytes, memory.cold_reserved_peak_bytes)
    reserved = max((peak for peak in peaks if peak is not None), default=None)
    process = memory.process_peak_bytes
    if process is None and reserved is not None and debit is not None:
        process = reserved + max(debit.context_bytes, debit.step_bytes or 0, debit.end_bytes or 0)
    beyond = debit.exceeded_bytes if debit is not None else 0
    told = f"it ran, with {format_bytes(beyond)} more than the card has" if beyond else ""
    return Tried(
        size=size,
        outcome="oom" if beyond else "ok",
        evidence=evidence,
        reserved_bytes=reserved,
        process_bytes=process,
        message=told,
    )


def _figures(ending: Ending) -> tuple[Memory | None, Debit | None]:
    for message in ending.messages:
        if isinstance(message, Probed):
            return message.memory, message.debit
        if isinstance(message, Finished):
            debit = message.debit_bytes
            source = "free memory of the device"
            found = None if debit is None else Debit(context_bytes=debit, source=source)
            return message.report.memory, found
    return None, None


def _why(ending: Ending) -> tuple[Outcome, str]:
    failed = next((m for m in ending.messages if isinstance(m, Failed)), None)
    if ending.kind == "timeout":
        return "timeout", ending.reason
    if failed is not None:
        return failed.outcome, one_line(failed.message)[:1000]
    return "crashed", one_line(ending.reason or "it ended without an answer")[:1000]
