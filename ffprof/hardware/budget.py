"""The memory budget that a card, or a size such as 8GB, stands for."""

from __future__ import annotations

import re

from ffprof.errors import UsageError
from ffprof.hardware.cards import known_cards
from ffprof.hardware.profile import Card
from ffprof.records.audit import Budget, Evidence
from ffprof.units import GIB, format_bytes, parse_size

# A size in whole gigabytes is what a card is sold with; any other is what CUDA shall offer.
_SOLD_WITH = re.compile(r"\s*\d+\s*GB\s*", re.IGNORECASE | re.ASCII)


def budget_for(text: str) -> Budget:
    """What ``--gpu-mem`` means: a card sold with so many whole gigabytes, or exactly so much.

    The budget is the smallest CUDA-usable total among the known cards of that class, without
    those whose profile objects (memory shared with the processor, or taken by error
    correction). Of a class without a known card, the largest part that a driver keeps of a known
    card of the nearest class is taken off (assumed): of large cards it keeps a smaller part. A size
    such as 7900MiB is taken as what CUDA offers.

    Raises:
        UsageError: not a positive size.
    """
    size = parse_size(text)
    eligible = [card for card in known_cards() if not card.class_objection]
    card = next((one for one in eligible if one.sold_as_bytes == size), None)
    if card is not None:
        return budget_of(card, text)
    total, source = size, f"no profiled card is sold with {text}: taken as what CUDA offers"
    if _SOLD_WITH.fullmatch(text):
        nearest = min(abs(one.sold_as_bytes - size) for one in eligible)
        share, name = min(
            (one.cuda_total_bytes / one.sold_as_bytes, one.name)
            for one in eligible
            if abs(one.sold_as_bytes - size) == nearest
        )
        total = int(size * share)
        source = (
            f"no profiled card is sold with {text}: what CUDA offers is assumed to be the "
            f"{share:.1%} of it that the {name} leaves, the least of the cards nearest in size"
        )
    return Budget(requested=text, total_bytes=total, limit_bytes=total, sources=(source,))


def budget_of(card: Card, requested: str | None = None) -> Budget:
    """What CUDA offers on a card; ``requested`` is the size that was requested, if one was."""
    return Budget(
        requested=f"{card.sold_as_bytes / GIB:g}GB" if requested is None else requested,
        card=card.name,
        total_bytes=card.cuda_total_bytes,
        limit_bytes=card.cuda_total_bytes,
        sources=card.memory_sources,
    )


# A card offers a little less than it is sold with; a size below this share of it is another class.
_SAME_CLASS = 0.9


def cuda_budget(
    asked: Budget, total_bytes: int, *, explicit: bool, here: Card | None = None
) -> tuple[Budget, Evidence, tuple[str, ...]]:
    """What a budget means on a GPU that has ``total_bytes`` for CUDA: budget, label and notes.

    A GPU of the size requested is measured as it is, with its own total whatever its profile says;
    ``here`` is the card that it was recognised as. A larger one is limited to the card, and what it
    gives is emulated.

    Raises:
        UsageError: a larger size was requested explicitly than this GPU has.
    """
    size = parse_size(asked.requested)
    if total_bytes > size:
        note = (
            f"a larger GPU limited to {asked.requested}: the limit applies to PyTorch's allocator "
            "only, not to the other card's speed, its kernels or their workspaces"
        )
        return asked, "emulated", (note,)
    own = asked.model_copy(
        update={
            "card": here.name if here else None,
            "total_bytes": total_bytes,
            "limit_bytes": total_bytes,
            "whole_gpu": True,
            "sources": ("cuda_total_bytes: what CUDA reports on this GPU",),
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
