"""How the memory of a command grows with a value in it: a run a value, and the power law."""

from __future__ import annotations

from dataclasses import replace

from ffprof.estimator.sizes import exponent
from ffprof.experiments.script.largest import Say, run_with, tried_of
from ffprof.experiments.script.outcome import TWICE
from ffprof.experiments.script.question import Values
from ffprof.experiments.script.request import (
    NO_LIMIT,
    ScriptRequest,
    ScriptTarget,
    target_of,
)
from ffprof.experiments.script.runner import run_on
from ffprof.records.base import MOST_ITEMS
from ffprof.records.redaction import recorded_words
from ffprof.records.script import ScriptEstimate, ScriptGrowth, ScriptTried


def find_growth(
    request: ScriptRequest, values: Values, say: Say = lambda text: None
) -> ScriptGrowth:
    """Run the command with every value that is swept; a value that fails is a row.

    Args:
        request: its command is of no matter.
        values: the value, where it stands, and those that are asked for.
        say: told in one line what is run, and what came of it.

    Raises:
        UsageError: the command cannot be started, or the request cannot be meant.
        NullDeviceError: the device cannot be built.
    """
    target = target_of(request)
    rows: list[ScriptTried] = []
    notes, known = dict.fromkeys(target.notes), {TWICE, *target.notes}
    for value in values.swept:
        found = run_with(value, request, target, values, say)
        notes |= {f"{values.name} {value:,}: {n}": None for n in found.notes if n not in known}
        rows.append(_row(value, found, request, target, values, say))
    overhead = target.room.overhead
    return ScriptGrowth(
        command=recorded_words(values.template.words)[:MOST_ITEMS],
        grown=values.name,
        card=target.card,
        device_name=target.device.name,
        budget_bytes=target.room.total,
        overhead_bytes=(overhead.low_bytes, overhead.likely_bytes, overhead.high_bytes),
        rows=tuple(rows),
        allocated_exponent=exponent(values.swept, [one.allocated_peak_bytes for one in rows]),
        reserved_exponent=exponent(values.swept, [one.reserved_peak_bytes for one in rows]),
        runs=sum(one.runs for one in rows),
        seconds=round(sum(one.seconds for one in rows), 3),
        notes=tuple(notes),
    )


def _row(
    value: int,
    found: ScriptEstimate,
    request: ScriptRequest,
    target: ScriptTarget,
    values: Values,
    say: Say,
) -> ScriptTried:
    """That of the card; where memory was short there, with the peaks of a run without a limit."""
    row = tried_of(value, found)
    if not (row.status == "out of memory" or found.alloc_retries or found.cold_alloc_retries):
        return row
    say(f"{values.name} {value:,}: memory was short, so once more without a limit, for its peaks")
    command = values.template.command(value)
    free = tried_of(value, run_on(replace(request, command=command, capacity=NO_LIMIT), target))
    return row.model_copy(
        update={
            "runs": row.runs + free.runs,
            "seconds": round(row.seconds + free.seconds, 3),
            "allocated_peak_bytes": free.allocated_peak_bytes,
            "reserved_peak_bytes": free.reserved_peak_bytes,
            "process_range_bytes": free.process_range_bytes,
        }
    )
