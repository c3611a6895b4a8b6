"""The report of advice: what makes a step fit or smaller, each change with what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from ffprof.records.estimate import Advice, AdviceLine
from ffprof.report.document import Block, Column, Document, clean, printable
from ffprof.report.estimate.table import share
from ffprof.units import format_bytes

_COLUMNS = (
    Column(name="change", numeric=False),
    Column(name="reserved"),
    Column(name="saves"),
    Column(name="step time"),
    Column(name="fits", numeric=False),
    Column(name="allocated", wide=True),
    Column(name="what it is", numeric=False, rank=1),
)
_FITS = {"fits": "yes", "too close to call": "too close", "does not fit": "no", None: "-"}
_NAMED = 3  # in the answer
_CAPTION = (
    "each change was tried on the step by itself, and none was made in your files; reserved: peak "
    "of a steady step without a limit; step time: against the step as it is, by a roofline; all "
    "figures estimated"
)
_EFFECT = {"same": "", "rounding": "", "method": "trains otherwise"}


def advice_document(
    found: Sequence[Advice], title: str, setting: Sequence[str], command: str = ""
) -> Document:
    """Every step with its changes; ``command`` is how a change is shown as code."""
    blocks: list[Block] = []
    for advice in found:
        blocks += _blocks(advice, heading=advice.workload if len(found) > 1 else "")
    closing = (f"{command} prints a change as code",) if command else ()
    return printable(
        Document(
            title=f"What to change: {title}, estimated",
            setting=tuple(setting),
            blocks=tuple(blocks),
            answers=tuple((answer(one),) for one in found),
            closing=closing,
        )
    )


def answer(advice: Advice) -> str:
    """Whether the step fits, and what makes it fit or saves most, in one or two sentences."""
    where = advice.card or f"a budget of {format_bytes(advice.budget_bytes)}"
    steady, cold = advice.base.reserved_peak_bytes or 0, advice.base.cold_reserved_peak_bytes or 0
    reserved = f"{format_bytes(steady)} reserved"
    if cold > 1.01 * steady:
        reserved += f", {format_bytes(cold)} at the start"
    told = {
        "fits": f"{advice.workload} fits {where} as it is ({reserved})",
        "too close to call": f"{advice.workload} may not fit {where} ({reserved})",
    }.get(advice.base.fit or "", f"{advice.workload} does not fit {where} ({reserved})")
    helpful = [
        line
        for line in advice.lines
        if advice.helps(line) and line.effect != "method" and line.sure
    ]
    if not advice.fits:
        helpful = [line for line in helpful if line.fit == "fits"]
    named = _of_different_kinds(helpful)
    if not named:
        none = "no change saves more" if advice.fits else "no change that was tried makes it fit"
        return f"{told}; {none}."
    ways = ", or with ".join(_way(advice, line) for line in named)
    return f"{told}. It {'takes less' if advice.fits else 'fits'} with {ways}."


def line_of(advice: Advice, id: str) -> AdviceLine | None:
    """The line of this id."""
    return next((line for line in advice.lines if line.id == id), None)


def code_text(line: AdviceLine) -> str:
    """A change as Python, with what it is in a comment."""
    note = f"; {line.note}" if line.note else ""
    shown = (f"# {line.title}{note}", *line.code.rstrip().split("\n"))
    return "".join(f"{clean(one)}\n" for one in shown)


def _of_different_kinds(lines: Sequence[AdviceLine]) -> list[AdviceLine]:
    """The first of each kind, such as one of three ways to accumulate."""
    seen: dict[str, AdviceLine] = {}
    for line in lines:
        seen.setdefault("+".join(one.partition("-")[0] for one in line.ids), line)
    return list(seen.values())[:_NAMED]


def _way(advice: Advice, line: AdviceLine) -> str:
    slower = advice.slower(line)
    return f"{line.title} ({format_bytes(line.reserved_peak_bytes)}{_pace(slower)})"


def _pace(slower: float | None) -> str:
    if slower is None:
        return ""
    if 0.98 < slower < 1.02:
        return ", as fast"
    if slower < 1:
        return f", about {1 / slower:.1f}x faster" if slower < 0.9 else ", slightly faster"
    return f", about {100 * (slower - 1):.0f} % slower" if slower < 2 else f", {slower:.1f}x slower"


def _blocks(advice: Advice, heading: str) -> list[Block]:
    helpful = [line for line in advice.lines if advice.helps(line)]
    useless = [one for one in advice.lines if not advice.helps(one) and not one.failed]
    failed = [line for line in advice.lines if line.failed]
    made = [
        Block(
            heading=heading,
            columns=_COLUMNS,
            rows=tuple(_cells(advice, line) for line in (advice.base, *helpful)),
            caption=_CAPTION,
        )
    ]
    notes: dict[str, list[str]] = {}
    for line in helpful:
        if told := _remark(line):
            notes.setdefault(told, []).append(line.id)
    made.append(Block(lines=tuple(f"{', '.join(ids)}: {told}" for told, ids in notes.items())))
    if useless:
        names = ", ".join(line.id for line in useless)
        made.append(Block(text=(f"Saves less than 1 % here: {names}.",)))
    if failed:
        made.append(
            Block(
                heading="Could not be tried",
                lines=tuple(f"{line.id}: {line.failed}" for line in failed),
                detail=True,
            )
        )
    return made


def _remark(line: AdviceLine) -> str:
    return "; ".join(one for one in (_EFFECT[line.effect], line.note) if one)


def _cells(advice: Advice, line: AdviceLine) -> tuple[str, ...]:
    slower = advice.slower(line)
    saved = advice.saved_bytes(line)
    told = _remark(line)
    return (
        line.id or "(as it is)",
        format_bytes(line.reserved_peak_bytes),
        share(saved, advice.base.reserved_peak_bytes or 0) if line.ids else "-",
        "-" if slower is None else f"{slower:.2f}x",
        _FITS[line.fit],
        format_bytes(line.allocated_peak_bytes),
        line.title + (f" ({told})" if told else ""),
    )
