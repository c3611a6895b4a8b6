"""What a report says, before it is decided how it looks.

Exporters (terminal, Markdown) take this document and add nothing; so all of them say the same.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table; ``wide`` ones are left out where there is no room."""

    name: str
    numeric: bool = True
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with lines under it."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """Title, what was run, the table, and what must be said with it."""

    title: str
    setting: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    sections: tuple[Section, ...]


def printable(document: Document) -> Document:
    """Without what a terminal might obey: names and messages may come from anywhere."""
    return Document(
        title=_clean(document.title),
        setting=tuple(map(_clean, document.setting)),
        columns=document.columns,
        rows=tuple(tuple(map(_clean, row)) for row in document.rows),
        caption=_clean(document.caption),
        sections=tuple(
            Section(heading=_clean(s.heading), lines=tuple(map(_clean, s.lines)))
            for s in document.sections
        ),
    )


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
