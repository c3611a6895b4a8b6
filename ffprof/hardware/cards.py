"""Cards by name, and which of them the machine's GPU is, from what the driver says of it.

Known are the profiles of hw_profiles/, and those of the user's own files where they are given:
``own`` in what follows. One of these takes the place of a profile of the same name.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ffprof.errors import UsageError, did_you_mean
from ffprof.hardware.profile import SIZE, Card, card_key, parse_profile, read_profile, sizeless_key
from ffprof.instruments.nvml import NvmlError, open_gpu
from ffprof.units import GIB, parse_size


def known_cards(own: Sequence[Card] = ()) -> list[Card]:
    """All profiles, the smallest CUDA total first."""
    replaced = {key for card in own for key in card.keys}
    cards = [*own, *(card for card in _profiles() if replaced.isdisjoint(card.keys))]
    return sorted(cards, key=lambda card: (card.cuda_total_bytes, card.name))


@functools.cache
def _profiles() -> tuple[Card, ...]:
    return tuple(
        parse_profile(entry.read_bytes(), f"hw_profiles/{entry.name}")
        for entry in resources.files("hw_profiles").iterdir()
        if entry.name.endswith(".toml")
    )


def own_cards(paths: Sequence[Path]) -> tuple[Card, ...]:
    """The cards of the user's files, each file once.

    Raises:
        UsageError: one is no profile, or two describe cards of one name.
    """
    found: dict[str, Card] = {}
    for path in dict.fromkeys(paths):
        card = read_profile(path)
        other = found.setdefault(card_key(card.name), card)
        if other is not card:
            raise UsageError(
                f"{other.origin} and {card.origin} both describe a card {card.name}",
                "leave one of them out, or give it another name",
            )
    return tuple(found.values())


def find_card(name: str, own: Sequence[Card] = ()) -> Card:
    """The card of this name, as it is sold or as the driver calls it.

    Case, blanks, makers' words such as "NVIDIA", "GeForce" or "RTX" and a size at the end do not
    matter, and "Laptop GPU" means mobile. Of a model that is sold with several sizes, the name
    without one means the smallest: what fits it fits the others.

    Raises:
        UsageError: no such card, or several that are more than sizes of one model; the message
            names those that are meant or spelled like it.
    """
    known = known_cards(own)
    # "RTX 4060 Ti 16", as people write it
    card = _named(name, known) or _named(_BARE_SIZE.sub(r" \1GB", name), known)
    if card is None:
        raise _not_one_card(name, known)
    return card


_BARE_SIZE = re.compile(r"[\s-](\d{1,3})\s*G?\s*$", re.IGNORECASE | re.ASCII)


def _named(name: str, known: Sequence[Card]) -> Card | None:
    wanted, sizeless = card_key(name), sizeless_key(name)
    size = SIZE.search(name)
    sold = parse_size(size.group()) if size else None
    found = (
        # as long as no card bears the shorter name itself, the smallest of those that do with a
        # size behind it
        *(card for card in known if wanted in card.keys),
        *(card for card in known if wanted == sizeless_key(card.name)),
        *(card for card in known if sizeless in card.keys and card.sold_as_bytes == sold),
    )
    return found[0] if found else None


def sold_with(size: str, own: Sequence[Card] = ()) -> list[Card] | None:
    """The cards of a class such as "24GB", the smallest CUDA total first; None: not a class.

    Raises:
        UsageError: no card is sold with it.
    """
    if not SIZE.fullmatch(size):
        return None
    known = known_cards(own)
    found = [card for card in known if card.sold_as_bytes == parse_size(size)]
    if not found:
        classes = sorted({card.sold_as_bytes for card in known})
        raise UsageError(
            f"no profiled card is sold with {size.strip()}",
            f"there are cards of {', '.join(f'{one / GIB:g}' for one in classes)} GB",
        )
    return found


_CHOICES = 8  # more would not be read


def _not_one_card(name: str, known: Sequence[Card]) -> UsageError:
    """What to say of a name that means no card, or more than one, such as "H100"."""
    asked = _words(name)
    # "sxm" for "sxm4" as well
    meant = [
        card.name
        for card in known
        if asked <= (has := _words(card.name)) | {word.rstrip("0123456789") for word in has}
    ]
    if asked and 1 < len(meant) <= _CHOICES:
        return UsageError(f"{name!r} is more than one card", f"name one: {', '.join(meant)}")
    names = {card_key(card.name): card.name for card in known}
    near = did_you_mean(card_key(name), names, names)
    if asked and len(meant) == 1:
        near = f"did you mean {meant[0]}? "
    return UsageError(
        f"no profile of a card {name!r}",
        f"{near}ffprof cards lists those that are known; a size "
        "does for others: --gpu-mem 24GB, or a profile of your own: --card-file",
    )


_SPACED_SIZE = re.compile(r"(\d)\s+(?=gi?b\b)", re.ASCII)


def _words(name: str) -> set[str]:
    """The words of a name as ``card_key`` reads them, a size as one: a100, sxm4, 80gb."""
    spaced = _SPACED_SIZE.sub(r"\1", name.lower())
    return {key for word in re.split(r"[\s_-]+", spaced) if (key := card_key(word))}


# Of the size that a card is sold with, what the driver or CUDA call its total: 89 % at the least
# (CUDA on a Jetson) to 100 %. Models that are sold with several sizes under one name differ by a
# sixth or more (RTX 3080, 10 and 12 GB).
LEAST, MOST = 0.85, 1.02
# How far CUDA's total may be from a profile's: 7.63 and 7.75 GiB were read on cards of 8188 MiB.
AGREES = 0.02


def recognise(
    gpu_name: str,
    nvml_total_bytes: int | None,
    cuda_total_bytes: int | None,
    own: Sequence[Card] = (),
) -> Card | None:
    """The card that a GPU is, or None if no profile is of it.

    By its name as NVML and CUDA spell it, such as "NVIDIA GeForce RTX 4060 Laptop GPU". Models
    that are sold with several sizes often bear one name, so the totals, as far as they are known,
    must be those of the card; without any, a name that leaves out a profile's size is not enough.
    """
    totals = [total for total in (nvml_total_bytes, cuda_total_bytes) if total is not None]
    known = known_cards(own)
    found = [card for card in known if card_key(gpu_name) in card.keys]
    if totals:
        found += [card for card in known if sizeless_key(card.name) == sizeless_key(gpu_name)]
    for card in found:
        if all(LEAST * card.sold_as_bytes < total <= MOST * card.sold_as_bytes for total in totals):
            return card
    return None


def recognise_here(
    uuid: str | None, cuda_name: str, cuda_total_bytes: int | None, own: Sequence[Card] = ()
) -> Card | None:
    """The card that a GPU of this machine is, by NVML's name and total as well as by CUDA's.

    Where NVML does not say, CUDA's name and total decide.
    """
    name, total = cuda_name, None
    if uuid is not None:
        with contextlib.suppress(NvmlError):
            gpu = open_gpu(uuid)
            try:
                facts = gpu.facts()
            finally:
                gpu.close()
            # A slice of a GPU has a part of its memory under the whole one's name.
            if not facts.slice:
                name, total = facts.name, facts.nvml_total_bytes
    return recognise(name, total, cuda_total_bytes, own)


def agrees(card: Card, cuda_total_bytes: int) -> bool:
    """Whether CUDA's total on the GPU is within 2 % of the profile's."""
    return abs(cuda_total_bytes - card.cuda_total_bytes) <= AGREES * card.cuda_total_bytes
