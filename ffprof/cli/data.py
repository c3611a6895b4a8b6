"""``ffprof data``: which data sets are here, and where to get the others; no torch in here."""

from __future__ import annotations

from typing import Literal

import typer

from ffprof.cli.common_options import FORMAT, complete_data


def data(
    names: list[str] = typer.Argument(
        None,
        help="Sets that are meant, as NAME or NAME:DIR; all by default.",
        autocompletion=complete_data,
    ),
    check: bool = typer.Option(False, "--check", help="Check the sums of what is there."),
    download: bool = typer.Option(False, "--download", help="Download the sets that are named."),
    format: Literal["table", "json"] = FORMAT,
) -> None:
    """List the data sets: what is here and where, its licence, and where to get the others."""
    from ffprof.cli.output.data import download_sets, print_stock, way_to_get
    from ffprof.errors import DataError, UsageError
    from ffprof.harness.data.inventory import check_stock, take_stock

    stock = take_stock(names or ())
    if download:
        if not names:
            raise UsageError("--download names no set", "write ffprof data NAME --download")
        download_sets(stock)
        stock = take_stock(names)
    if check:
        from ffprof.harness.process.child import start_context

        stock = check_stock(stock, start_context("spawn"))
    print_stock(stock, format)
    for one in stock:
        if one.error is not None:
            raise one.error
        if check and names and one.state == "absent":
            raise DataError(f"{one.info.name} is not here", way_to_get(one))
