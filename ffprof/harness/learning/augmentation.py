"""From stored images to what a network is fed, a micro-batch at a time, on the device.

Augmentation is torchvision's ``RandomCrop(size, padding=4)`` and ``RandomHorizontalFlip`` of each
image. Those work on one image at a time; here a whole batch is one gather, and a test compares
the two pixel by pixel. What is drawn follows from the seed, the epoch and the place in it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_STREAM = 0xA0761D6478BD642F % 2**63


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What is drawn for each image: upper left corner of the crop, and flip, (n,) each."""

    rows: Tensor
    columns: Tensor
    flips: Tensor

    def of(self, places: slice) -> Draws:
        """Those of some images."""
        return Draws(rows=self.rows[places], columns=self.columns[places], flips=self.flips[places])


def draw(count: int, padding: int, *, flips: bool, seed: int, epoch: int) -> Draws:
    """For ``count`` images of an epoch; without ``flips`` none is flipped."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch + _STREAM) % 2**63)
    corners = torch.randint(2 * padding + 1, (2, count), generator=generator)
    turned = torch.rand(count, generator=generator) < 0.5
    return Draws(rows=corners[0], columns=corners[1], flips=turned & flips)


def cropped(images: Tensor, padding: int, draws: Draws) -> Tensor:
    """(n, channels, s, s) -> the same, each image shifted and flipped as it was drawn."""
    size = images.shape[-1]
    steps = torch.arange(size, device=images.device)
    padded = F.pad(images, [padding] * 4)
    rows = draws.rows.to(images.device)[:, None] + steps
    turned = torch.where(draws.flips.to(images.device)[:, None], size - 1 - steps, steps)
    columns = draws.columns.to(images.device)[:, None] + turned
    index = torch.arange(len(images), device=images.device)[:, None, None]
    # An index around a slice: channels come last, which is what channels_last wants.
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


class Preparation:
    """Stored values to standardised float32, with ``channels`` of them, in a memory format.

    Args:
        mean: of the stored values, one a channel of theirs.
        deviation: the same.
        channels: that the network takes; one stored channel is repeated.
        padding: how far a crop may be shifted, in pixels.
        memory_format: of what is returned.
    """

    def __init__(
        self,
        mean: Sequence[float],
        deviation: Sequence[float],
        channels: int,
        padding: int,
        memory_format: torch.memory_format,
    ) -> None:
        self._mean = torch.tensor(mean).view(1, -1, 1, 1)
        self._scale = 1 / torch.tensor(deviation).view(1, -1, 1, 1)
        self._channels, self._padding, self._format = channels, padding, memory_format
        self.draws: Draws | None = None  # of the next images; None: as they are stored

    def __call__(self, images: Tensor) -> Tensor:
        """(n, c, s, s) on a device -> (n, channels, s, s) there."""
        if self._mean.device != images.device:
            self._mean, self._scale = self._mean.to(images.device), self._scale.to(images.device)
        if self.draws is not None:
            images = cropped(images, self._padding, self.draws)
        x = (images.float() - self._mean).mul_(self._scale)
        return x.expand(-1, self._channels, -1, -1).contiguous(memory_format=self._format)

    def held(self) -> list[Tensor]:
        """The tensors that are kept."""
        return [self._mean, self._scale]
