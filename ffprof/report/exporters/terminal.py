"""A report for a terminal, with rich: fits 80 columns, uses more where there are more."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ffprof.errors import ReaderGoneError
from ffprof.report.document import Block, Column, Document, clean, printable

WIDE = 120
_GAP = 2
_STATES = ("outcome", "fit", "status")  # columns
_STYLES = {
    "ok": "green", "oom": "red", "timeout": "red", "crashed": "red", "refused": "magenta",
    "fits": "green", "does not fit": "red", "too close": "yellow",
    "regressed": "red", "improved": "green", "passed": "green",
}  # fmt: skip
_VERDICTS = (
    (r"(?<!not )\bsupported\b", "green"),
    (r"\bnot\s+supported\b", "red"),
    (r"\b(undecided|no verdict)\b", "yellow"),
)


class OutputConsole(Console):
    """A console for results: plain figures, and a closed pipe is left to the command line."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **more: Any) -> Text:
        """Cells and lines that are not of a report."""
        return super().render_str(clean(text), **more)

    def on_broken_pipe(self) -> None:
        """Raised on instead of ending the process with code 1."""
        raise ReaderGoneError


def print_document(document: Document, console: Console, *, full: bool = True) -> None:
    """Print a report; without ``full``, details are left out."""
    # Never cropped: half a figure is worse than a line that the terminal wraps.
    console.print(render(document, console.width, full=full), crop=False)


def text_of(document: Document, width: int) -> str:
    """The whole report as plain text, ``width`` columns wide."""
    console = Console(
        file=io.StringIO(),
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None,
    )
    print_document(document, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def print_end(document: Document, console: Console) -> None:
    """Print the title and the end of a report."""
    parts = _end(printable(document), console.width)[1:]
    console.print(Group(Text(clean(document.title), style="bold"), *parts), crop=False)


def render(document: Document, width: int, *, full: bool = True) -> RenderableType:
    """The document as something that rich can print, ``width`` columns wide."""
    document = printable(document)
    shown = [block for block in document.blocks if full or not block.detail]
    parts: list[RenderableType] = [
        _flowed(f" - {line}" if number else line, width - 1, style="red", hang="   " * bool(number))
        for number, line in enumerate(document.alarms)
    ]
    parts += [Text(document.title, style="bold")]
    parts += [_flowed(line, width, style="dim") for line in document.setting]
    for block in shown:
        parts += [Text(), *([Text(block.heading, style="bold")] if block.heading else [])]
        parts += [_flowed(line, width) for line in block.text]
        if block.rows:
            # Tables with the same columns stand in line with each other.
            alike = [one for one in shown if one.columns == block.columns]
            rows = [row for one in alike for row in one.rows]
            tables = [_table(one, wide, width) for one, wide in _split(block, rows, width)]
            for number, table in enumerate(tables):
                parts += [Text()] * bool(number) + [table]
        parts += [_flowed(f" - {line}", width - 1, hang="   ") for line in block.lines]
        parts += [Text(block.command, no_wrap=True, overflow="ignore")] if block.command else []
        caption = _caption(block, rows, width) if block.rows else block.caption
        parts += [_flowed(caption, width, style="dim")] if caption else []
    parts += _end(document, width)
    return Group(*parts)


MOST_ANSWERS = 4  # lines, so that with the next command there are five


def _end(document: Document, width: int) -> list[RenderableType]:
    """The answers, as many as there is room for, and what is said below them.

    All are worded at the same length: the longest at which each takes one line. A document with
    alarms has no other answer.
    """
    if document.alarms:
        told = [_flowed(document.alarms[0], width, style="red")]
    else:
        told = _fitted(document.answers, width)
    closing = [
        Text(line, style="dim", no_wrap=True, overflow="ignore") for line in document.closing
    ]
    return [Text(), *told, *closing] if told or closing else []


def _fitted(answers: Sequence[tuple[str, ...]], width: int) -> list[Text]:
    first = answers[:MOST_ANSWERS]
    chosen: list[str] = []
    for at in range(max((len(one) for one in first), default=0)):
        chosen = [one[min(at, len(one) - 1)] for one in first]
        if all(len(line) <= width for line in chosen):
            break
    room = MOST_ANSWERS - (len(answers) > 1)
    lines = [_cut(_flowed(line, width), room) for line in chosen]
    heights = [line.plain.count("\n") + 1 for line in lines]
    while lines and sum(heights) + (len(lines) < len(answers)) > MOST_ANSWERS and len(lines) > 1:
        del lines[-1], heights[-1]
    left = len(answers) - len(lines)
    more = [Text(f"and {left} more (--full)")] if left else []
    return [*map(_with_verdicts, lines), *more]


def _cut(text: Text, room: int) -> Text:
    lines = text.plain.split("\n")
    if len(lines) <= room:
        return text
    return Text("\n".join([*lines[: room - 1], "..."]), no_wrap=True, overflow="ignore")


def _with_verdicts(text: Text) -> Text:
    """Coloured where it says what came of a claim."""
    for words, style in _VERDICTS:
        text.highlight_regex(words, style)
    return text


def _split(
    block: Block, alike: Sequence[tuple[str, ...]], width: int
) -> list[tuple[Block, Sequence[Sequence[str]]]]:
    """The block's table, or several with its first column each, and the rows that set widths."""
    if not block.split:
        return [(block, alike)]
    widths = _widths(block.columns, alike)
    parts: list[list[int]] = []
    for at in range(1, len(widths)):
        if not parts or sum(widths[one] + _GAP for one in [0, *parts[-1], at]) - _GAP > width:
            parts.append([])
        parts[-1].append(at)

    def of(row: Sequence[Any], places: list[int]) -> tuple[Any, ...]:
        return tuple(row[at] for at in (0, *places))

    return [
        (
            replace(block, columns=of(block.columns, one), rows=tuple(of(r, one) for r in alike)),
            [of(row, one) for row in alike],
        )
        for one in parts
    ]


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    return [
        max(_name_width(column), *(len(row[at]) for row in rows))
        for at, column in enumerate(columns)
    ]


def _table(block: Block, alike: Sequence[Sequence[str]], width: int) -> Table:
    """The table in at most ``width`` columns, if those that are always shown are no wider."""
    columns = block.columns
    widths = _widths(columns, alike)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    shown = _shown(columns, alike, width)
    for at in shown:
        table.add_column(
            _name(columns[at], widths[at]),
            justify="right" if columns[at].numeric else "left",
            no_wrap=True,
            min_width=widths[at],
        )
    for row in block.rows:
        table.add_row(*[_cell(columns[at].name, row[at]) for at in shown])
    return table


def _shown(columns: Sequence[Column], alike: Sequence[Sequence[str]], width: int) -> list[int]:
    """The places of the columns that there is room for."""
    widths = _widths(columns, alike)
    shown = [
        at for at, one in enumerate(columns) if not one.rank and (width >= WIDE or not one.wide)
    ]
    left = width - sum(widths[at] + _GAP for at in shown) + _GAP
    ranked = [
        at for at, one in enumerate(columns) if one.rank and any(row[at] != "-" for row in alike)
    ]
    for at in sorted(ranked, key=lambda at: columns[at].rank):
        left -= widths[at] + _GAP
        if left < 0:
            break
        shown.append(at)
    return sorted(shown)


def _caption(block: Block, alike: Sequence[Sequence[str]], width: int) -> str:
    """Without what it says of columns that are not shown."""
    if block.split:
        return block.caption
    shown = _shown(block.columns, alike, width)
    hidden = [one.name for at, one in enumerate(block.columns) if at not in shown]
    parts = block.caption.split("; ")
    return "; ".join(one for one in parts if one.partition(":")[0] not in hidden)


def _name(column: Column, width: int) -> Text:
    lines = textwrap.wrap(
        column.name, max(1, width), break_on_hyphens=False, break_long_words=False
    )
    return Text("\n".join(lines) if column.folded else column.name)


def _name_width(column: Column) -> int:
    words = column.name.split() if column.folded else [column.name]
    return max(map(len, words), default=0)


def _cell(column: str, text: str) -> Text:
    other = "yellow" if column in _STATES and text != "-" else ""
    return Text(text, style=_STYLES.get(text, other))


def _flowed(line: str, width: int, *, style: str = "", hang: str = "") -> Text:
    """A line wrapped to the width; further lines begin with ``hang``."""
    wrapped = textwrap.wrap(
        line,
        max(20, width),
        subsequent_indent=hang,
        break_on_hyphens=False,  # names have them
        break_long_words=False,  # a path stays whole
    )
    return Text("\n".join(wrapped), style=style, no_wrap=True, overflow="ignore")
