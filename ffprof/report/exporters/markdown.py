"""The report as Markdown, for papers' appendices and pull requests."""

from __future__ import annotations

from ffprof.records.audit import Record
from ffprof.report.audit import make_document
from ffprof.report.document import Document

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})


def to_markdown(record: Record) -> str:
    """The whole report; ends in a newline."""
    return render(make_document(record))


def render(document: Document) -> str:
    """The document as Markdown."""
    lines = [f"# {escape(document.title)}", ""]
    lines += [f"- {escape(line)}" for line in document.setting]
    table = [*_table(document), ""] if document.rows else []
    lines += ["", *table, escape(document.caption)]
    for section in document.sections:
        lines += ["", f"## {escape(section.heading)}", ""]
        lines += [f"- {escape(line)}" for line in section.lines]
    return "\n".join(lines) + "\n"


def _table(document: Document) -> list[str]:
    header = [column.name for column in document.columns]
    rule = ["---:" if column.numeric else ":---" for column in document.columns]
    rows = [[escape(cell) for cell in row] for row in document.rows]
    return [f"| {' | '.join(line)} |" for line in (header, rule, *rows)]


def escape(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    return " ".join(text.translate(_SPECIAL).split())
