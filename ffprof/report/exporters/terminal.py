"""The report for a terminal, with rich: fits 80 columns, uses more where there are more."""

from __future__ import annotations

import textwrap

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ffprof.records.audit import Record
from ffprof.report.audit import make_document
from ffprof.report.document import Document

WIDE = 120
_STYLES = {
    "ok": "green", "oom": "red", "timeout": "red", "crashed": "red", "refused": "magenta",
    "fits": "green", "does not fit": "red",
    "regressed": "red", "improved": "green", "passed": "green",
}  # fmt: skip


class OutputConsole(Console):
    """A console for results: plain figures, and a closed pipe is left to the command line."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        """Raised on instead of ending the process with code 1."""
        raise BrokenPipeError


def print_report(record: Record, console: Console) -> None:
    """Print an audit's report."""
    print_document(make_document(record), console)


def print_document(document: Document, console: Console) -> None:
    """Print a report."""
    # Never cropped: half a figure is worse than a line that the terminal wraps.
    console.print(render(document, console.width), crop=False)


def render(document: Document, width: int) -> RenderableType:
    """The document as something that rich can print, ``width`` columns wide."""
    parts: list[RenderableType] = [Text(document.title, style="bold")]
    parts += [Text(line, style="dim") for line in document.setting]
    parts += [Text(), *([_table(document, wide=width >= WIDE)] if document.rows else [])]
    parts += [Text(document.caption, style="dim")]
    for section in document.sections:
        parts += [Text(), Text(section.heading, style="bold")]
        parts += [_item(line, width) for line in section.lines]
    return Group(*parts)


def _table(document: Document, *, wide: bool) -> Table:
    shown = [i for i, column in enumerate(document.columns) if wide or not column.wide]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index in shown:
        column = document.columns[index]
        table.add_column(
            column.name,
            justify="right" if column.numeric else "left",
            no_wrap=True,
            min_width=max(len(column.name), *(len(row[index]) for row in document.rows)),
        )
    for row in document.rows:
        table.add_row(*[_cell(document.columns[i].name, row[i]) for i in shown])
    return table


def _cell(column: str, text: str) -> Text:
    style = _STYLES.get(text, "yellow") if column in ("outcome", "fit", "status") else ""
    return Text(text, style=style)


def _item(line: str, width: int) -> Text:
    wrapped = textwrap.wrap(
        line,
        max(20, width - 1),
        initial_indent=" - ",
        subsequent_indent="   ",
        break_on_hyphens=False,  # names have them
        break_long_words=False,  # a path stays whole
    )
    return Text("\n".join(wrapped), no_wrap=True, overflow="ignore")
