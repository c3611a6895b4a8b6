"""What a command takes with other values in it: the largest that fits, and how memory grows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from ffprof.records.script import ScriptGrowth, ScriptLargest, ScriptTried
from ffprof.report.document import Block, Column, Document, printable
from ffprof.report.estimate.holdings import place_words
from ffprof.report.estimate.script import command_words, times
from ffprof.report.estimate.table import between
from ffprof.units import format_bytes, format_ratio, format_seconds

_WORDS = {"too close to call": "is too close to call", "out of memory": "does not fit"}
_QUOTED = re.compile(r"'([\w.=@%+:,/{}-]*)'")  # for its braces alone, which no shell asks for
_CAPTION = (
    "allocated, reserved: the higher peak of the first step and of later ones; process: reserved "
    "with context and libraries"
)
_SHORT = "; >: memory ran out when so much was needed"


def largest_document(found: ScriptLargest, width: int) -> Document:
    """The answer, what was tried, and why one failed."""
    return printable(
        Document(
            title=f"Largest {found.grown} of {_words(found.command, width)}, emulated",
            setting=_setting(found, len(found.tried)),
            blocks=(
                Block(text=_answer(found)),
                Block(
                    columns=_columns(found.grown),
                    rows=tuple(map(_cells, found.tried)),
                    caption=_CAPTION + _SHORT * any(one.needed_bytes for one in found.tried),
                ),
                Block(heading="Why not", lines=_problems(_in_the_way(found))),
                Block(heading="Notes", lines=found.notes),
                _next(found),
            ),
        )
    )


def growth_document(found: ScriptGrowth, width: int) -> Document:
    """A row a value, and the power law."""
    return printable(
        Document(
            title=f"Memory over {found.grown} of {_words(found.command, width)}, emulated",
            setting=_setting(found, len(found.rows)),
            blocks=(
                Block(
                    columns=_columns(found.grown),
                    rows=tuple(map(_cells, found.rows)),
                    caption=f"{_CAPTION}; where memory was short, peaks are those without a limit",
                ),
                Block(text=_growth(found)),
                Block(heading="Why not", lines=_problems(found.rows)),
                Block(heading="Notes", lines=found.notes),
            ),
        )
    )


def _words(command: Sequence[str], width: int) -> str:
    return _QUOTED.sub(r"\1", command_words(command, width - 34))


def _setting(found: ScriptLargest | ScriptGrowth, count: int) -> tuple[str, ...]:
    low, likely, high = map(format_bytes, found.overhead_bytes)
    return (
        f"{found.card or found.device_name}: CUDA offers {format_bytes(found.budget_bytes)}; "
        f"context and libraries add {low} to {high}, likely {likely}",
        f"{times(count).replace('time', 'value')} in {times(found.runs).replace('time', 'run')}, "
        f"{format_seconds(found.seconds)}, by PyTorch's own CUDA code on a device that is not "
        "there",
    )


def _answer(found: ScriptLargest) -> tuple[str, ...]:
    card = found.card or found.device_name
    if not found.largest:
        return (f"No {found.grown} is known to fit {card}: {found.message}.",)
    at = {one.value: one for one in found.tried}
    told = f"{format_bytes(at[found.largest].reserved_peak_bytes)} reserved"
    tried = "" if found.proven else ", of those tried"
    if found.proven and found.first_failing is not None:
        told += f"; {found.first_failing:,} {_WORDS[at[found.first_failing].status]}"
    unit = f", in steps of {found.unit:,}" if found.unit > 1 else ""
    answer = f"Largest {found.grown} that fits {card}{unit}{tried}: {found.largest:,} ({told})."
    if found.message:
        answer += f" {found.message[:1].upper()}{found.message[1:]}."
    if found.at_largest is not None and found.at_largest.conditional:
        answer += " The answer is conditional: the script read values from the device."
    return (answer,)


def _columns(grown: str) -> tuple[Column, ...]:
    return (
        Column(name=grown),
        Column(name="status", numeric=False),
        Column(name="allocated"),
        Column(name="reserved"),
        Column(name="process", rank=1),
        Column(name="runs", rank=2),
    )


def _cells(one: ScriptTried) -> tuple[str, ...]:
    needed = one.needed_bytes if one.allocated_peak_bytes is None else None
    return (
        f"{one.value:,}",
        one.status,
        f">{format_bytes(needed)}" if needed else format_bytes(one.allocated_peak_bytes),
        format_bytes(one.reserved_peak_bytes),
        between(one.process_range_bytes),
        str(one.runs),
    )


def _problems(rows: Sequence[ScriptTried]) -> tuple[str, ...]:
    told = []
    for one in rows:
        if not one.message:
            continue
        # What PyTorch says about its memory, and advises, is in the record.
        message = one.message.split(". GPU ")[0]
        at = f", at {place_words(one.place)}" if one.place and one.place.file else ""
        told.append(f"{one.value:,}: {message}{at}")
    return tuple(told)


def _in_the_way(found: ScriptLargest) -> list[ScriptTried]:
    """The next value, unless the answer tells all that is known of it."""
    return [
        one
        for one in found.tried
        if one.value == found.first_failing and (one.place is not None or found.proven)
    ]


def _next(found: ScriptLargest) -> Block:
    if not found.largest:
        return Block()
    words = [word.replace("{}", str(found.largest)) for word in found.command]
    return Block(
        text=("What holds the memory there, ffprof estimate without --largest tells of:",),
        command=shlex.join(words),
    )


def _growth(found: ScriptGrowth) -> tuple[str, ...]:
    known = [one for one in found.rows if one.allocated_peak_bytes and one.reserved_peak_bytes]
    if len(known) < 2 or found.allocated_exponent is None or found.reserved_exponent is None:
        return ("Nothing can be told of growth: fewer than two values gave figures.",)
    first, last = known[0], known[-1]
    assert first.allocated_peak_bytes and last.allocated_peak_bytes
    assert first.reserved_peak_bytes and last.reserved_peak_bytes
    return (
        f"From {first.value:,} to {last.value:,}, allocated grows to "
        f"{format_ratio(last.allocated_peak_bytes / first.allocated_peak_bytes)}, by the "
        f"power {found.allocated_exponent + 0.0:.2f} of {found.grown}, and reserved to "
        f"{format_ratio(last.reserved_peak_bytes / first.reserved_peak_bytes)}, by the "
        f"power {found.reserved_exponent + 0.0:.2f} (1: in proportion, 0: not at all).",
    )
