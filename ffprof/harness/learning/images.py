"""Labelled images of a run, in memory, and how images are handed over a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ffprof.harness.learning.augmentation import Draws, draw

Part = tuple[Tensor, Tensor]
Drawn = tuple[Tensor, Tensor, Draws | None]


class Images(Protocol):
    """Images with labels (n,) int64; what it hands over is on the host, as stored (uint8)."""

    @property
    def labels(self) -> Tensor:
        """(n,), on the host."""

    def __len__(self) -> int:
        """How many."""

    def epoch(self, size: int, seed: int, number: int, device_type: str) -> Iterator[Drawn]:
        """Whole batches of an epoch, in an order drawn from seed and number.

        Each with how its images are to be shifted and flipped; None where they are as they come.
        """

    def batches(self, size: int, device_type: str) -> Iterator[Part]:
        """All of them in order, not augmented; the last batch may be smaller."""

    def held(self) -> list[Tensor]:
        """The tensors that are kept."""


def epoch_order(count: int, seed: int, number: int) -> Tensor:
    """The order of an epoch, (count,)."""
    start = (seed * 1_000_003 + number) % 2**63
    return torch.randperm(count, generator=torch.Generator().manual_seed(start))


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images (n, channels, size, size) in memory; ``padding`` and ``flips`` augment them."""

    images: Tensor
    labels: Tensor
    padding: int = 0
    flips: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def epoch(self, size: int, seed: int, number: int, device_type: str) -> Iterator[Drawn]:
        """See ``Images``."""
        order, draws = epoch_order(len(self), seed, number), None
        if self.padding or self.flips:
            draws = draw(len(self), self.padding, flips=self.flips, seed=seed, epoch=number)
        for start in range(0, len(self) - size + 1, size):
            places = slice(start, start + size)
            index = order[places]
            images, labels = self.images[index], self.labels[index]
            if device_type == "cuda":
                images, labels = images.pin_memory(), labels.pin_memory()
            yield images, labels, None if draws is None else draws.of(places)

    def batches(self, size: int, device_type: str) -> Iterator[Part]:
        """See ``Images``."""
        yield from zip(self.images.split(size), self.labels.split(size), strict=True)

    def held(self) -> list[Tensor]:
        """See ``Images``."""
        return [self.images, self.labels]
