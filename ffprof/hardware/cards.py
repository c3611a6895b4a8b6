"""Cards as described in hw_profiles/, and the budget that a size such as 8GB stands for."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

from ffprof.record import Budget
from ffprof.units import MIB, parse_size


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU model: what it is sold as, and what CUDA offers on it."""

    name: str
    sold_as_bytes: int
    cuda_total_bytes: int
    sources: tuple[str, ...]


def known_cards() -> list[Card]:
    """All profiles, the smallest CUDA total first."""
    cards = []
    for entry in resources.files("hw_profiles").iterdir():
        if entry.name.endswith(".toml"):
            document = tomllib.loads(entry.read_text(encoding="utf-8"))
            cards.append(
                Card(
                    name=document["name"],
                    sold_as_bytes=parse_size(document["class"]),
                    cuda_total_bytes=document["cuda_total_mib"] * MIB,
                    sources=tuple(f"{k}: {v}" for k, v in document["sources"].items()),
                )
            )
    return sorted(cards, key=lambda card: (card.cuda_total_bytes, card.name))


def budget_for(text: str) -> Budget:
    """What ``--gpu-mem`` means: a card sold with so much memory.

    The budget is the smallest CUDA-usable total among the known cards of that class; for a size
    that no known card is sold with, it is the size itself.

    Raises:
        UsageError: not a positive size.
    """
    size = parse_size(text)
    card = next((c for c in known_cards() if c.sold_as_bytes == size), None)
    if card is None:
        return Budget(
            requested=text,
            total_bytes=size,
            limit_bytes=size,
            sources=(f"no profiled card is sold as {text}: the size itself",),
        )
    return Budget(
        requested=text,
        card=card.name,
        total_bytes=card.cuda_total_bytes,
        limit_bytes=card.cuda_total_bytes,
        sources=card.sources,
    )
