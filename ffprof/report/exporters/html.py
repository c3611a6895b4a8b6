"""A report as HTML, for notebooks: a fragment without styles and scripts."""

from __future__ import annotations

from html import escape

from ffprof.report.document import Block, Document, printable


def render(document: Document) -> str:
    """The document as HTML; text of a record stays text, whatever is written there."""
    document = printable(document)
    parts = [f"<p><strong>{escape(line)}</strong></p>" for line in document.alarms[:1]]
    parts += _items(document.alarms[1:])
    parts += [f"<h3>{escape(document.title)}</h3>", *_items(document.setting)]
    answers = () if document.alarms else document.answers
    parts += [f"<p><strong>{escape(one[0])}</strong></p>" for one in answers]
    for block in document.blocks:
        parts += [f"<h4>{escape(block.heading)}</h4>"] if block.heading else []
        parts += [f"<p>{escape(line)}</p>" for line in block.text]
        parts += _table(block) if block.rows else []
        parts += _items(block.lines)
        parts += [f"<pre>{escape(block.command)}</pre>"] if block.command else []
        parts += [f"<p><small>{escape(block.caption)}</small></p>"] if block.caption else []
    return "\n".join(["<div>", *parts, "</div>"]) + "\n"


def _table(block: Block) -> list[str]:
    sides = [f'style="text-align: {"right" if c.numeric else "left"}"' for c in block.columns]
    names = [c.name for c in block.columns]
    return [
        "<table>",
        f"<thead>{_row('th', names, sides)}</thead>",
        "<tbody>",
        *(_row("td", row, sides) for row in block.rows),
        "</tbody>",
        "</table>",
    ]


def _row(tag: str, cells: tuple[str, ...] | list[str], sides: list[str]) -> str:
    made = (f"<{tag} {side}>{escape(c)}</{tag}>" for c, side in zip(cells, sides, strict=True))
    return f"<tr>{''.join(made)}</tr>"


def _items(lines: tuple[str, ...]) -> list[str]:
    return ["<ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"] if lines else []
