"""Which card the machine's GPU is, from what the driver says of it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ffprof.hardware.card import Card, card_key, sizeless_key
from ffprof.hardware.cards import known_cards
from ffprof.instruments.nvml import NvmlError, open_gpu

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

    Where NVML does not tell, CUDA's name and total decide.
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
