"""The options about budgets that commands share; free of everything but typer."""

from __future__ import annotations

from enum import StrEnum

import typer

GPU_MEM = typer.Option(
    None, help="The budget: a card sold with this size; 8GB by default. A larger GPU is held to it."
)
CARD = typer.Option(None, help="The budget by a card's name; ffprof cards lists them.")
CARD_FILE = typer.Option(
    [],
    help="A card of your own, as a profile: see ffprof cards --template; may be repeated.",
    readable=False,
)
DISPLAY = typer.Option(
    False, "--display", help="The card draws a desktop too: leave what that takes out."
)


class OnForeign(StrEnum):
    """What to do about processes of others on the GPU."""

    warn = "warn"
    wait = "wait"
    refuse = "refuse"


ON_FOREIGN = typer.Option(
    OnForeign.warn,
    help="Processes of others on the GPU: go on and say so, wait for their end, or stop.",
)
