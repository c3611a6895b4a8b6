"""A report as Markdown, for papers' appendices and pull requests."""

from __future__ import annotations

from ffprof.report.document import Block, Document, printable

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})


def render(document: Document) -> str:
    """The document as Markdown; ends in a newline."""
    document = printable(document)
    parts = [
        [f"**{_escaped(line)}**" for line in document.alarms[:1]],
        _items(document.alarms[1:]),
    ]
    answers = () if document.alarms else document.answers
    parts += [[f"# {_escaped(document.title)}"], _items(document.setting)]
    parts += [[f"- **{_escaped(one[0])}**" for one in answers]]
    for block in document.blocks:
        parts += [
            [f"## {_escaped(block.heading)}"] if block.heading else [],
            [_escaped(line) for line in block.text],
            _table(block),
            _items(block.lines),
            # Indented, it is code, in which nothing is markup.
            [f"    {' '.join(block.command.split())}"] if block.command else [],
            [_escaped(block.caption)] if block.caption else [],
        ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _table(block: Block) -> list[str]:
    if not block.rows:
        return []
    header = [_escaped(column.name) for column in block.columns]
    rule = ["---:" if column.numeric else ":---" for column in block.columns]
    rows = [[_escaped(cell) for cell in row] for row in block.rows]
    return [f"| {' | '.join(line)} |" for line in (header, rule, *rows)]


def _items(lines: tuple[str, ...]) -> list[str]:
    return [f"- {_escaped(line)}" for line in lines]


def _escaped(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    return " ".join(text.translate(_SPECIAL).split())
