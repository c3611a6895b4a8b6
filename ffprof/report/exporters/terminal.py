"""A report for a terminal, with rich: fits 80 columns, uses more where there are more."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ffprof.report.document import Block, Document, clean, printable

WIDE = 120
_GAP = 2
_STATES = ("outcome", "fit", "status")  # columns
_STYLES = {
    "ok": "green", "oom": "red", "timeout": "red", "crashed": "red", "refused": "magenta",
    "fits": "green", "does not fit": "red", "too close to call": "yellow",
    "regressed": "red", "improved": "green", "passed": "green",
}  # fmt: skip


class OutputConsole(Console):
    """A console for results: plain figures, and a closed pipe is left to the command line."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **more: Any) -> Text:
        """Cells and lines that are not of a report."""
        return super().render_str(clean(text), **more)

    def on_broken_pipe(self) -> None:
        """Raised on instead of ending the process with code 1."""
        raise BrokenPipeError


def print_document(document: Document, console: Console) -> None:
    """Print a report."""
    # Never cropped: half a figure is worse than a line that the terminal wraps.
    console.print(render(document, console.width), crop=False)


def render(document: Document, width: int) -> RenderableType:
    """The document as something that rich can print, ``width`` columns wide."""
    document = printable(document)
    parts: list[RenderableType] = [
        _flowed(f" - {line}" if number else line, width - 1, style="red", hang="   " * bool(number))
        for number, line in enumerate(document.alarms)
    ]
    parts += [Text(document.title, style="bold")]
    parts += [_flowed(line, width, style="dim") for line in document.setting]
    for block in document.blocks:
        parts += [Text(), *([Text(block.heading, style="bold")] if block.heading else [])]
        parts += [_flowed(line, width) for line in block.text]
        if block.rows:
            # Tables with the same columns stand in line with each other.
            alike = [one for one in document.blocks if one.columns == block.columns]
            parts.append(_table(block, [row for one in alike for row in one.rows], width))
        parts += [_flowed(f" - {line}", width - 1, hang="   ") for line in block.lines]
        parts += [Text(block.command, no_wrap=True, overflow="ignore")] if block.command else []
        parts += [_flowed(block.caption, width, style="dim")] if block.caption else []
    return Group(*parts)


def _table(block: Block, alike: Sequence[Sequence[str]], width: int) -> Table:
    """The table in at most ``width`` columns, if those that are always shown are no wider."""
    columns = block.columns
    widths = [
        max(len(column.name), *(len(row[at]) for row in alike)) for at, column in enumerate(columns)
    ]
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
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for at in sorted(shown):
        table.add_column(
            columns[at].name,
            justify="right" if columns[at].numeric else "left",
            no_wrap=True,
            min_width=widths[at],
        )
    for row in block.rows:
        table.add_row(*[_cell(columns[at].name, row[at]) for at in sorted(shown)])
    return table


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
