"""Cards as described in hw_profiles/, and the budget that a size such as 8GB stands for."""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from importlib import resources

from ffprof.errors import UsageError
from ffprof.hardware.card import Card, card_from
from ffprof.record import Budget, Evidence
from ffprof.units import GIB, format_bytes, parse_size

__all__ = ["Card", "budget_for", "card_budget", "cuda_budget", "find_card", "known_cards"]


def known_cards() -> list[Card]:
    """All profiles, the smallest CUDA total first."""
    return list(_profiles())


@functools.cache
def _profiles() -> tuple[Card, ...]:
    cards = [
        card_from(tomllib.loads(entry.read_text(encoding="utf-8")))
        for entry in resources.files("hw_profiles").iterdir()
        if entry.name.endswith(".toml")
    ]
    return tuple(sorted(cards, key=lambda card: (card.cuda_total_bytes, card.name)))


def find_card(name: str) -> Card:
    """The card of this name, as it is sold or as the driver calls it.

    Case, blanks, makers' words such as "NVIDIA", "GeForce" or "RTX" and a size at the end do not
    matter, and "Laptop GPU" means mobile.

    Raises:
        UsageError: no such card; the message names those that are spelled like it.
    """
    wanted = _key(name)
    cards = {_key(card.name): card for card in _profiles()}
    # "RTX 4060 Ti" is the 8 GB one, as long as no card bears the shorter name itself.
    sizeless = {_key(_SIZE.sub("", card.name)): card for card in _profiles()}
    card = cards.get(wanted) or sizeless.get(wanted)
    if card is None and (size := _SIZE.search(name)):
        of_size = cards.get(_key(_SIZE.sub("", name)))
        if of_size and of_size.sold_as_bytes == parse_size(size.group()):
            card = of_size
    if card is None:
        close = difflib.get_close_matches(wanted, cards, n=3)
        meant = " or ".join(cards[key].name for key in close)
        raise UsageError(
            f"no profile of a card {name!r}",
            (f"did you mean {meant}? " if meant else "")
            + "ffprof cards lists those that are known; a size does for others: --gpu-mem 24GB",
        )
    return card


_SIZE = re.compile(r"\s+\d+\s*GB$", re.IGNORECASE)
_MAKERS_WORDS = re.compile(r"nvidia|geforce|quadro|tesla|jetson|rtx|gtx|gpu|\W", re.ASCII)


def _key(name: str) -> str:
    return _MAKERS_WORDS.sub("", name.lower().replace("laptop", "mobile"))


def budget_for(text: str) -> Budget:
    """What ``--gpu-mem`` means: a card sold with so much memory.

    The budget is the smallest CUDA-usable total among the known cards of that class, without
    those whose profile objects (memory shared with the processor, or taken by error
    correction); for a size that no known card is sold with, it is the size itself.

    Raises:
        UsageError: not a positive size.
    """
    size = parse_size(text)
    of_class = (c for c in known_cards() if c.sold_as_bytes == size and not c.class_objection)
    card = next(of_class, None)
    if card is None:
        return Budget(
            requested=text,
            total_bytes=size,
            limit_bytes=size,
            sources=(f"no profiled card is sold as {text}: the size itself",),
        )
    return _budget_of(card, text)


def card_budget(name: str) -> Budget:
    """What ``--card`` means: what CUDA offers on the card of that name.

    Raises:
        UsageError: no such card.
    """
    card = find_card(name)
    return _budget_of(card, f"{card.sold_as_bytes // GIB}GB")


def _budget_of(card: Card, requested: str) -> Budget:
    return Budget(
        requested=requested,
        card=card.name,
        total_bytes=card.cuda_total_bytes,
        limit_bytes=card.cuda_total_bytes,
        sources=card.memory_sources,
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
