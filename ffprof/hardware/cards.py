"""Cards by name, and which of them the machine's GPU is, from what the driver says of it.

Known are the profiles of hw_profiles/, and those of the user's own files where they are given:
``own`` in what follows. One of these takes the place of a profile of the same name.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ffprof.errors import UsageError, did_you_mean
from ffprof.hardware.profile import SIZE, Card, card_key, parse_profile, read_profile, sizeless_key
from ffprof.instruments.nvml import NvmlError, open_gpu
from ffprof.units import parse_size


def known_cards(own: Sequence[Card] = ()) -> list[Card]:
    """All profiles, the smallest CUDA total first."""
    replaced = {card_key(card.name) for card in own}
    cards = [*own, *(card for card in _profiles() if card_key(card.name) not in replaced)]
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
    matter, and "Laptop GPU" means mobile.

    Raises:
        UsageError: no such card; the message names those that are spelled like it.
    """
    wanted = card_key(name)
    known = known_cards(own)
    cards = {card_key(card.name): card for card in known}
    # "RTX 4060 Ti" is the 8 GB one, as long as no card bears the shorter name itself.
    sizeless = {sizeless_key(card.name): card for card in known}
    card = cards.get(wanted) or sizeless.get(wanted)
    if card is None and (size := SIZE.search(name)):
        of_size = cards.get(sizeless_key(name))
        if of_size and of_size.sold_as_bytes == parse_size(size.group()):
            card = of_size
    if card is None:
        names = {key: one.name for key, one in cards.items()}
        raise UsageError(
            f"no profile of a card {name!r}",
            f"{did_you_mean(wanted, cards, names)}ffprof cards lists those that are known; a size "
            "does for others: --gpu-mem 24GB, or a profile of your own: --card-file",
        )
    return card


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
    found = [card for card in known if card_key(card.name) == card_key(gpu_name)]
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
