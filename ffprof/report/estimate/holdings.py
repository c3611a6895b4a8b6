"""What is held at a moment, by category, module, phase and line of the user's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ffprof.records.script import CodeLine, HeldByLine
from ffprof.report.document import Block, Column
from ffprof.report.estimate.modules import OUTSIDE, Holder, Row, rolled_up
from ffprof.report.estimate.table import share
from ffprof.units import format_bytes

LINES = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SHARES = (
    Column(name="bytes"),
    Column(name="share"),
    Column(name="", numeric=False),
)


def by_name(
    heading: str, name: str, held: Mapping[str, int], whole: int, caption: str = ""
) -> Block:
    """A row for each name, the largest first, with a bar."""
    rows = [
        (one, format_bytes(n), share(n, whole), bar(n / max(1, whole), 30))
        for one, n in sorted(held.items(), key=lambda item: -item[1])
        if n
    ]
    columns = (Column(name=name, numeric=False), *_SHARES)
    return Block(heading=heading, columns=columns, rows=tuple(rows), caption=caption)


def by_module(modules: Sequence[Holder], whole: int, width: int) -> Block:
    """The tree of modules, as deep as the memory is; names are cut to fit the width."""
    rows = rolled_up(modules)
    if not any(row.path != OUTSIDE for row in rows):
        return Block()
    columns = (
        Column(name="bytes"),
        Column(name="share"),
        Column(name="module", numeric=False),
        Column(name="most of it", numeric=False),
    )
    return Block(
        heading="By module",
        columns=columns,
        rows=tuple(_module(row, whole, width) for row in rows),
        caption="with all that is inside of it; outside modules: what the step does between "
        f"them, its data, and what autograd makes for that{_outside(modules)}",
    )


def _outside(modules: Sequence[Holder]) -> str:
    """The operators that hold most of what is no module's, as far as they are known."""
    held = {
        name.removeprefix("aten."): sum(one.by_category.values())
        for one in modules
        if (name := getattr(one, "operator", ""))
    }
    most = sorted(held.items(), key=lambda item: -item[1])[:3]
    told = ", ".join(f"{name} {format_bytes(size)}" for name, size in most)
    return f" (most by {told})" if told else ""


def _module(row: Row, whole: int, width: int) -> tuple[str, ...]:
    size = row.total_bytes
    top = max(row.by_category, key=lambda category: row.by_category[category])
    told = top if row.by_category[top] == size else f"{top} {share(row.by_category[top], size)}"
    each = f" ({row.count} x {format_bytes(size // row.count)})" if row.count > 1 else ""
    name = middle(row.path, max(20, width - 44 - len(each))) + each
    return format_bytes(size), share(size, whole), name, told


def by_line(lines: Sequence[HeldByLine], whole: int, width: int) -> Block:
    """The lines that made most of it; nothing where none is known."""
    if not any(one.place.file for one in lines):
        return Block()
    columns = (
        Column(name="bytes"),
        Column(name="share"),
        Column(name="made by", numeric=False),
    )
    rows = [
        (
            format_bytes(one.total_bytes),
            share(one.total_bytes, whole),
            _cut(place_words(one.place), max(24, width - 20)),
        )
        for one in lines[:LINES]
    ]
    rest, caption = lines[LINES:], ""
    if rest:
        size = sum(one.total_bytes for one in rest)
        caption = f"and {len(rest)} more lines, {format_bytes(size)} together"
    return Block(heading="By line", columns=columns, rows=tuple(rows), caption=caption)


def place_words(place: CodeLine) -> str:
    """``train.py:12 in main: loss.backward()``, the file as seen from here."""
    if not place.file:
        return (
            "backward, by autograd"
            if place.function == "backward"
            else "no line of the user's code"
        )
    inside = f" in {place.function}" if place.function not in ("", "<module>") else ""
    text = f": {place.text}" if place.text else ""
    return f"{_seen_from_here(place.file)}:{place.line}{inside}{text}"


def bar(share: float, width: int) -> str:
    """A bar of ``width`` characters for a share of 1; anything above nothing can be seen."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    eighths = max(eighths, 1) if share > 0 else 0
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def middle(text: str, most: int) -> str:
    """The text, shortened at its front: the ends of module paths distinguish them."""
    return text if len(text) <= most else "…" + text[len(text) - most + 1 :]


def _seen_from_here(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


def _cut(text: str, most: int) -> str:
    """In ``most`` characters: the code is cut first, then the beginning of the path."""
    if len(text) <= most:
        return text
    place, _, _ = text.partition(": ")
    return text[: most - 1] + "…" if len(place) < most else middle(place, most)
