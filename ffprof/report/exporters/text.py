"""A report in a few lines of plain text: what a result prints as."""

from __future__ import annotations

from ffprof.report.document import Block, Document, printable

MOST_LINES = 12


def render(document: Document) -> str:
    """The title and the first table, cut to twelve lines; without a table, the first lines.

    Alarms come before them and on top.
    """
    document = printable(document)
    return "\n".join([*document.alarms, _short(document)])


def _short(document: Document) -> str:
    block = next((one for one in document.blocks if one.rows), None)
    if block is None:
        told = [line for one in document.blocks for line in (*one.text, *one.lines)]
        return "\n".join([document.title, *document.setting, *told][:MOST_LINES])
    lines = _table(block)
    room = MOST_LINES - 2  # for the title and what is left out
    left = len(lines) - room
    more = [f"... and {left} more rows"] if left > 0 else []
    return "\n".join([document.title, *lines[:room], *more])


def _table(block: Block) -> list[str]:
    shown = [at for at, one in enumerate(block.columns) if not (one.wide or one.rank or one.folded)]
    rows = [[one.name for one in block.columns], *block.rows]
    widths = {at: max(len(row[at]) for row in rows) for at in shown}
    return [
        "  ".join(
            row[at].rjust(widths[at]) if block.columns[at].numeric else row[at].ljust(widths[at])
            for at in shown
        ).rstrip()
        for row in rows
    ]
