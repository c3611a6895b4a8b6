"""Which sets of the catalogue are on this machine, where, and whether their sums are right.

Free of torch; sums are checked in a child.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Literal

from ffprof.errors import DataError
from ffprof.harness.data.archive import check_archive
from ffprof.harness.data.catalogue import DATA, DataInfo, find_data, lies_in
from ffprof.harness.data.discovery import CHECK_LIMIT_SECONDS
from ffprof.harness.data.source import DataWords, parse_data
from ffprof.harness.process.calls import run_series
from ffprof.harness.process.child import Ending

State = Literal["embedded", "there", "absent", "right", "damaged"]


@dataclass(frozen=True, kw_only=True)
class Stock:
    """A set, whether it is there, and its folder; an absent one's is where it belongs."""

    info: DataInfo
    words: DataWords
    state: State
    error: DataError | None = None


def take_stock(names: Sequence[str]) -> list[Stock]:
    """The sets of these names, which may be ``NAME:DIR``; without any, all. Only names are seen.

    Raises:
        UsageError: there is no such set.
    """
    found = []
    for name in names or DATA:
        info, words = find_data(name.partition(":")[0]), parse_data(name)
        there: State = "there" if lies_in(info, Path(words.root)) else "absent"
        state: State = there if words.root else "embedded"
        found.append(Stock(info=info, words=words, state=state))
    return found


def check_stock(stock: Sequence[Stock], context: BaseContext) -> list[Stock]:
    """The same, with the sums of what is there checked in a child that ``context`` starts."""
    checked = list(stock)
    places = [at for at, one in enumerate(stock) if one.state == "there"]

    def answered(number: int, ending: Ending) -> None:
        at = places[number]
        error = next((one for one in ending.messages if isinstance(one, DataError)), None)
        if ending.messages == () or ending.kind != "ended":
            error = DataError(
                f"{stock[at].info.name} cannot be checked: {ending.reason}", "run again"
            )
        checked[at] = replace(stock[at], state="damaged" if error else "right", error=error)

    if places:
        pieces = [stock[at].words for at in places]
        run_series(context, check_child, pieces, CHECK_LIMIT_SECONDS, answered)
    return checked


def check_child(sender: Connection, pieces: Sequence[DataWords]) -> None:
    """Send None for every set that is right, and a ``DataError`` for one that is not."""
    for words in pieces:
        try:
            check_archive(words.kind, words.root)
            sender.send(None)
        except DataError as error:
            sender.send(error)
