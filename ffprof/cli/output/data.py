"""Data sets as a list, with where they lie or where to get them, and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ffprof.cli.output.console import print_json
from ffprof.harness.data.catalogue import own_place
from ffprof.harness.data.discovery import complete, look_at
from ffprof.harness.data.inventory import Stock
from ffprof.harness.process.child import start_context
from ffprof.harness.process.streams import say
from ffprof.report.document import Block, Column, Document, printable

_COLUMNS = (
    Column(name="data", numeric=False),
    Column(name="classes"),
    Column(name="train"),
    Column(name="test"),
    Column(name="size"),
    Column(name="here", numeric=False),
    Column(name="licence", numeric=False, rank=1),
)


def download_sets(stock: Sequence[Stock]) -> None:
    """Download the sets that are not there, each into its folder.

    Raises:
        DataError: one cannot be had.
        UsageError: one cannot be downloaded.
    """
    context = start_context("spawn")
    for one in stock:
        seen = look_at(one.words, download=True)
        if seen is not None:
            complete(seen, context, True, say)


def print_stock(stock: Sequence[Stock], format: Literal["table", "json"]) -> None:
    """Print what there is."""
    if format == "json":
        print_json([_as_json(one) for one in stock])
        return
    from ffprof.report.exporters.terminal import OutputConsole, print_document

    print_document(printable(_document(stock)), OutputConsole())


def _as_json(one: Stock) -> dict[str, object]:
    info = one.info
    return {
        "name": info.name,
        "title": info.title,
        "classes": info.classes,
        "channels": info.channels,
        "size": info.size,
        "train": info.train,
        "test": info.test,
        "licence": info.licence,
        "source": info.source,
        "state": one.state,
        "folder": one.words.root,
        "files": dict(info.files),
        "problem": "" if one.error is None else one.error.problem,
    }


def _document(stock: Sequence[Stock]) -> Document:
    rows = tuple(
        (
            one.info.name,
            str(one.info.classes),
            f"{one.info.train:,}",
            f"{one.info.test:,}",
            "any" if one.info.size is None else f"{one.info.size}x{one.info.size}",
            {"there": "yes", "absent": "no"}.get(one.state, one.state),
            one.info.licence,
        )
        for one in stock
    )
    there = [f"{one.info.name}: {one.words.root}" for one in stock if _lies(one)]
    absent = [way_to_get(one) for one in stock if one.state == "absent"]
    return Document(
        title="Data sets",
        setting=(),
        blocks=(
            Block(columns=_COLUMNS, rows=rows),
            Block(heading="Where they lie" if there else "", lines=tuple(there)),
            Block(heading="Where to get the others" if absent else "", lines=tuple(absent)),
        ),
    )


def _lies(one: Stock) -> bool:
    return one.state in ("there", "right", "damaged")


def way_to_get(one: Stock) -> str:
    """What to do about an absent set."""
    info, folder = one.info, _short(one.words.root)
    if not info.mirrors:
        return f"{info.name}: {info.source}; its train/ and val/ go into {folder}"
    named = one.words.root != str(own_place(info))
    package = f"apt-get install {info.package}, or " if info.package and not named else ""
    target = f"{info.name}:{folder}" if named else info.name
    return f"{package}ffprof data {target} --download: {info.source}"


def _short(folder: str) -> str:
    """With the home folder as ``~``."""
    try:
        return f"~/{Path(folder).relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # elsewhere, or nobody's home
        return folder
