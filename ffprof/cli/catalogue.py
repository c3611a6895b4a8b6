"""``ffprof workloads``, ``cards`` and ``data``: what there is to choose from; without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from ffprof.cli.common_options import FORMAT, complete_cards, complete_data


def workloads(format: Literal["table", "json"] = FORMAT) -> None:
    """List the registered workloads and presets."""
    from ffprof.experiments.selection import all_workloads
    from ffprof.workload import find_preset, preset_names

    found, broken = all_workloads()
    presets = [find_preset(name) for name in preset_names()]
    if format == "json":
        from ffprof.cli.output.console import print_json

        listed = {
            "workloads": [
                {"id": d.id, "family": d.family, "core": d.core, "summary": d.summary}
                for d in found
            ],
            "presets": [
                {"id": p.name, "default_for": p.default_for, "summary": p.summary} for p in presets
            ],
            "not_usable": [str(error) for error in broken],
        }
        print_json(listed)
        return
    from rich.table import Table

    from ffprof.report.exporters.terminal import OutputConsole

    console = OutputConsole()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("workload", "family", "core", "what it is"):
        table.add_column(name, no_wrap=name != "what it is")
    for one in found:
        table.add_row(one.id, one.family, "yes" if one.core else "", one.summary)
    console.print(table)
    for error in broken:
        console.print(f"not usable: {error}", style="red")
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("preset", "default on", "what it is"):
        table.add_column(name, no_wrap=name != "what it is")
    for preset in presets:
        table.add_row(preset.name, (preset.default_for or "").upper(), preset.summary)
    console.print(table)


def cards(
    name: str = typer.Argument(
        None,
        help="Show one card, with every figure and its source; or those of a size, such as 24GB.",
        autocompletion=complete_cards,
    ),
    card_file: list[Path] = typer.Option(
        [],
        help="Profile of your own card, listed with the others; may be repeated.",
        readable=False,
    ),
    template: bool = typer.Option(
        False, "--template", help="Print a profile to fill in, for --card-file."
    ),
    format: Literal["table", "json"] = FORMAT,
) -> None:
    """List the known cards by size, or show one with its sources."""
    from ffprof.errors import UsageError
    from ffprof.hardware.cards import find_card, known_cards, own_cards, sold_with

    if template:
        from ffprof.hardware.profile import TEMPLATE

        if name is not None or card_file or format == "json":
            raise UsageError(
                "--template cannot be combined with other options", "leave the rest out"
            )
        print(TEMPLATE, end="")
        return
    from ffprof.cli.output.cards import card_json, gpus_here, print_card, print_list

    own = own_cards(card_file)
    listed = known_cards(own) if name is None else sold_with(name, own)
    shown = listed or [find_card(name, own)]
    if format == "json":
        from ffprof.cli.output.console import print_json

        here = [card for _, card in gpus_here(own) if card]
        found = [card_json(card, here=card in here) for card in shown]
        print_json(found if listed else found[0])
    elif listed:
        print_list(listed, gpus_here(own))
    else:
        print_card(shown[0])


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
