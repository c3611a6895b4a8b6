"""Tables and lines that take the room they have: what matters least is left out first."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from ffprof.units import format_rate

_GAP = 2
_EIGHTHS = " ▏▎▍▌▋▊▉█"
STYLES = {"fits": "green", "does not fit": "red", "too close to call": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A column; ``rank`` 0 is always shown, and of the others the lowest until one is too wide."""

    name: str
    rank: int = 0
    numeric: bool = True


def fitted(columns: Sequence[Shown], rows: Sequence[Sequence[str]], width: int) -> Table:
    """The table in at most ``width`` columns, if those of rank 0 are no wider.

    A column without a figure is left out, unless its rank is 0.
    """
    widths = [
        max(len(column.name), *(len(row[at]) for row in rows)) if rows else len(column.name)
        for at, column in enumerate(columns)
    ]
    empty = [bool(rows) and all(row[at] == "-" for row in rows) for at in range(len(columns))]
    shown = [at for at, column in enumerate(columns) if column.rank == 0]
    left = width - sum(widths[at] + _GAP for at in shown) + _GAP
    for at in sorted(range(len(columns)), key=lambda at: columns[at].rank):
        if at in shown or empty[at]:
            continue
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
    for row in rows:
        table.add_row(*[Text(row[at], style=STYLES.get(row[at], "")) for at in sorted(shown)])
    return table


def bar(share: float, width: int) -> str:
    """A bar of ``width`` characters for a share of 1; anything above nothing can be seen."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    eighths = max(eighths, 1) if share > 0 else 0
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def percent(part: int, whole: int) -> str:
    """``37%``, ``<1%``; ``-`` of nothing."""
    if whole <= 0:
        return "-"
    share = 100 * part / whole
    return "<1%" if 0 < share < 0.5 else f"{share:.0f}%"


def clean(text: str) -> str:
    """Without what a terminal might obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def middle(text: str, most: int) -> str:
    """The text, shortened at its front: the ends of module paths tell them apart."""
    return text if len(text) <= most else "…" + text[len(text) - most + 1 :]


def flowed(line: str, width: int, *, style: str = "", hang: str = "") -> Text:
    """A line wrapped to the width; further lines begin with ``hang``."""
    wrapped = textwrap.wrap(
        clean(line), max(20, width - 1), subsequent_indent=hang,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip
    return Text("\n".join(wrapped), style=style, no_wrap=True, overflow="ignore")


def about(rate: float | None) -> str:
    """An estimated rate: ``~159``, so that it does not look exact."""
    return "-" if rate is None else f"~{format_rate(rate)}"
