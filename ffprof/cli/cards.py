"""``ffprof cards``: which GPUs are known, and what about them; without importing torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ffprof.hardware.profile import Card


class _Format(StrEnum):
    table = "table"
    json = "json"


def cards(
    name: str = typer.Argument(None, help="One card, with every figure and its source."),
    card_file: list[Path] = typer.Option(
        [],
        help="A card of your own, shown among the others; may be given more than once.",
        readable=False,
    ),
    template: bool = typer.Option(
        False, "--template", help="Print a profile to fill in, for --card-file."
    ),
    format: _Format = typer.Option(_Format.table, "--format", "-f", help="How to write it."),
) -> None:
    """List the known cards, or show one with its sources."""
    from ffprof.cli.card_views import card_json, print_card, print_list
    from ffprof.errors import UsageError
    from ffprof.hardware.cards import find_card, known_cards, own_cards

    if template:
        from ffprof.hardware.profile import TEMPLATE

        if name is not None or card_file or format is _Format.json:
            raise UsageError("--template goes with nothing else", "leave the rest out")
        print(TEMPLATE, end="")
        return
    own = own_cards(card_file)
    shown = known_cards(own) if name is None else [find_card(name, own)]
    if format is _Format.json:
        import json

        here = [card for _, card in _gpus_here(own) if card]
        found = [card_json(card, here=card in here) for card in shown]
        print(json.dumps(found if name is None else found[0], indent=1))
    elif name is None:
        print_list(shown, _gpus_here(own))
    else:
        print_card(shown[0])


def _gpus_here(own: tuple[Card, ...]) -> list[tuple[str, Card | None]]:
    """Every kind of GPU that NVML shows, by its name, and the card that it is."""
    from ffprof.hardware.cards import recognise
    from ffprof.hardware.doctor.readers.nvml import read_nvml

    found = {
        (gpu.name, gpu.total_bytes): recognise(gpu.name, gpu.total_bytes, None, own)
        for gpu in read_nvml().gpus
    }
    return [(name, card) for (name, _), card in found.items()]
