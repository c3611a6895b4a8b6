"""``ffprof cards``: which GPUs are known, and what about them; without importing torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from ffprof.cli.common_options import FORMAT, complete_cards


def cards(
    name: str = typer.Argument(
        None, help="Show one card, with every figure and its source.", autocompletion=complete_cards
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
    """List the known cards, or show one with its sources."""
    from ffprof.errors import UsageError
    from ffprof.hardware.cards import find_card, known_cards, own_cards

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
    shown = known_cards(own) if name is None else [find_card(name, own)]
    if format == "json":
        from ffprof.cli.output.console import print_json

        here = [card for _, card in gpus_here(own) if card]
        found = [card_json(card, here=card in here) for card in shown]
        print_json(found if name is None else found[0])
    elif name is None:
        print_list(shown, gpus_here(own))
    else:
        print_card(shown[0])
