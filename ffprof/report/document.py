"""What a report says, before it is decided how it looks.

Exporters (terminal, Markdown, HTML) take this document and add nothing; so all of them say the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ffprof.errors import defused


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table, and when it is left out where there is little room.

    The name of a ``folded`` one may take several lines. ``wide`` ones are shown on wide terminals
    only. Of those with a ``rank``, the lowest are shown
    until one does not fit any more. All others are always shown.
    """

    name: str
    numeric: bool = True
    wide: bool = False
    rank: int = 0
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a report: a heading, text, a table, lines of a list, and a caption; any of them.

    A ``command`` is to be copied: it stays one line, whatever the width. A terminal shows
    ``detail`` on request only. A table that is ``split`` goes on in a further one where its columns
    do not fit, each with the first column.
    """

    heading: str = ""
    text: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()
    caption: str = ""
    command: str = ""
    detail: bool = False
    split: bool = False


@dataclass(frozen=True, kw_only=True)
class Document:
    """A title, what was run, and the blocks below.

    ``alarms`` come before all of them: a headline, and a line each. ``answers`` are what a terminal
    ends with, the most important first, each in several wordings, the longest first; ``closing``
    is what it says below, such as where the file is.
    """

    title: str
    setting: tuple[str, ...]
    blocks: tuple[Block, ...]
    alarms: tuple[str, ...] = ()
    answers: tuple[tuple[str, ...], ...] = ()
    closing: tuple[str, ...] = ()


def clean(text: str) -> str:
    """Without what a terminal or a runner might obey: names and messages come from anywhere."""
    return defused("".join(c if c.isprintable() else " " for c in text))


def printable(document: Document, clean: Callable[[str], str] = clean) -> Document:
    """The document with all its text cleaned, without blocks that say nothing."""

    def all_of(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(clean, texts))

    return Document(
        title=clean(document.title),
        answers=tuple(map(all_of, document.answers)),
        closing=all_of(document.closing),
        alarms=all_of(document.alarms),
        setting=all_of(document.setting),
        blocks=tuple(
            Block(
                heading=clean(block.heading),
                text=all_of(block.text),
                columns=tuple(replace(one, name=clean(one.name)) for one in block.columns),
                rows=tuple(map(all_of, block.rows)),
                lines=all_of(block.lines),
                caption=clean(block.caption),
                command=clean(block.command),
                detail=block.detail,
                split=block.split,
            )
            for block in document.blocks
            if block.text or block.rows or block.lines or block.caption or block.command
        ),
    )
