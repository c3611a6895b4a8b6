"""The report of a paper: a line for each statement, what ours are, and what was not run.

The table says what is stated and how far ours agrees; below it, by number, where ours are from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ffprof.analysis.statements.answer import Answer
from ffprof.analysis.statements.table import Line, Open, open_commands
from ffprof.records.recipe import FILE_DATA
from ffprof.records.statement import Forecast, Paper
from ffprof.report.document import Block, Column, Document, printable
from ffprof.units import format_bytes, format_seconds

ELSEWHERE = "*"
_COLUMNS = (
    Column(name="statement", numeric=False),
    Column(name="paper", numeric=False),
    Column(name="ours", numeric=False),
    Column(name="agreement", numeric=False),
    Column(name="evidence", numeric=False, wide=True),
    Column(name="result file", numeric=False, wide=True),
)


def paper_document(
    paper: Paper,
    lines: Sequence[Line],
    *,
    notes: Sequence[str] = (),
    made_by: str = "",
    card: str = "",
    forecasts: Mapping[str, Forecast] | None = None,
) -> Document:
    """The report.

    Args:
        paper: what is stated.
        lines: a line for each statement.
        notes: what must be known beside them.
        made_by: the command that makes this report again.
        card: what the forecasts are for.
        forecasts: by the words of a command; None where none were asked for.
    """
    open_ones = open_commands(lines)
    numbers = {line.statement.id: number for number, line in enumerate(lines, 1)}
    elsewhere = any(line.answer.stand_in for line in lines)
    caption = paper.reservation + (
        f". {ELSEWHERE} on other data than the paper's, named below" if elsewhere else ""
    )
    told = f"; forecast (estimated) for {card}: optimizer steps alone, and most memory reserved"
    return printable(
        Document(
            title=f"Paper: {paper.title}",
            setting=(paper.source, _counts(lines), *([f"made by: {made_by}"] if made_by else [])),
            blocks=(
                Block(
                    columns=_COLUMNS,
                    rows=tuple(_row(number, line) for number, line in enumerate(lines, 1)),
                    caption=caption,
                ),
                Block(
                    heading="What ours are",
                    lines=tuple(
                        f"{number}: {_told(line.answer)}"
                        for number, line in enumerate(lines, 1)
                        if line.answer.sentence
                    ),
                ),
                Block(
                    heading="What would say more, the most telling first",
                    lines=tuple(_open(one, numbers, forecasts or {}) for one in open_ones),
                    caption=f"ffprof paper --run runs it{told if forecasts else ''}"
                    if open_ones
                    else "",
                ),
                Block(heading="Notes", lines=tuple(notes)),
            ),
        )
    )


def paper_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The lines for programs, in the paper's order."""
    return [
        {
            "id": line.statement.id,
            "statement": line.statement.words,
            "paper": line.statement.figure,
            "ours": line.answer.figure,
            "agreement": line.answer.agreement,
            "evidence": line.answer.evidence,
            "records": list(line.answer.sources),
            "finished": line.answer.finished,
            "stand_in": line.answer.stand_in or None,
            "sentence": line.answer.sentence,
            "commands": [str(one) for one in line.statement.commands],
        }
        for line in lines
    ]


def _counts(lines: Sequence[Line]) -> str:
    counts = Counter(_agreement(line.answer) for line in lines)
    told = "; ".join(f"{count} {word}" for word, count in counts.items())
    return f"{len(lines)} statements: {told}"


def _agreement(answer: Answer) -> str:
    return f"{answer.agreement}{ELSEWHERE if answer.stand_in else ''}"


def _row(number: int, line: Line) -> tuple[str, ...]:
    statement, answer = line.statement, line.answer
    return (
        f"{number:>2} {statement.words}",
        statement.figure,
        answer.figure,
        _agreement(answer),
        answer.evidence or "-",
        ", ".join(answer.sources) or "-",
    )


def _told(answer: Answer) -> str:
    left = "" if answer.finished else ", not finished"
    return f"{answer.sentence} [{answer.evidence}, {', '.join(answer.sources)}{left}]"


def _open(one: Open, numbers: Mapping[str, int], forecasts: Mapping[str, Forecast]) -> str:
    """A command, the lines that it is for, and what it takes."""
    places = sorted(numbers[statement.id] for statement in one.statements)
    parts = [f"for {', '.join(map(str, places))}"]
    data = one.command.options.get("data")
    if data in FILE_DATA:
        parts.append(f"needs the data {data}")
    found = forecasts.get(str(one.command))
    if found is not None:
        parts.append(_forecast(found))
    return f"{one.command} ({'; '.join(parts)})"


def _forecast(found: Forecast) -> str:
    told = []
    if found.seconds is not None:
        told.append(f"about {format_seconds(found.seconds)}")
    if found.reserved_bytes is not None:
        told.append(format_bytes(found.reserved_bytes))
    if found.unfit:
        told.append(f"does not fit: {', '.join(found.unfit)}")
    return ", ".join(told) or "not forecast"
