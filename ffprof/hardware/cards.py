"""Cards as described in hw_profiles/, and the budget that a size such as 8GB stands for."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

from ffprof.errors import UsageError
from ffprof.record import Budget, Evidence
from ffprof.units import MIB, format_bytes, parse_size


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


# A card offers a little less than it is sold with; a size below this share of it is another class.
_SAME_CLASS = 0.9


def cuda_budget(
    asked: Budget, total_bytes: int, *, explicit: bool
) -> tuple[Budget, Evidence, tuple[str, ...]]:
    """What a budget means on a GPU that has ``total_bytes`` for CUDA: budget, label and notes.

    A GPU of the size asked for is measured as it is. A larger one is held to the card, and what
    it gives is emulated.

    Raises:
        UsageError: a larger size was asked for explicitly than this GPU has.
    """
    size = parse_size(asked.requested)
    if total_bytes > size:
        note = (
            f"a larger GPU held to {asked.requested}: the limit binds PyTorch's allocator only, "
            "not the other card's speed, its kernels or their workspaces"
        )
        return asked, "emulated", (note,)
    own = asked.model_copy(
        update={
            "card": None,
            "total_bytes": total_bytes,
            "limit_bytes": total_bytes,
            "sources": ("what CUDA reports on this GPU",),
        }
    )
    if total_bytes > _SAME_CLASS * size:
        return own, "measured", ()
    has = format_bytes(total_bytes)
    if explicit:
        raise UsageError(
            f"--gpu-mem {asked.requested} is more than this GPU has ({has})",
            "ask for less, or leave the option out",
        )
    note = f"this GPU has {has}: it is measured as it is, not as an {asked.requested} card"
    return own.model_copy(update={"requested": ""}), "measured", (note,)
