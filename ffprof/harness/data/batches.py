"""The batches that every workload of an audit is fed, drawn from the recipe's seed.

``digits`` are scikit-learn's 1,797 real images of handwritten digits (8x8, UCI), resized to the
recipe and held in memory. ``synthetic`` are normally distributed tensors on the host, pinned when
they go to a GPU. Data from files is in ``loader`` next to this file. Batch number k is the
same for every workload.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ffprof.harness.data.digits import DIGITS_TRAINING, embedded_digits
from ffprof.harness.data.loader import Shuffles
from ffprof.records.recipe import FILE_DATA, Recipe

_DATA_STREAM = 0x9E3779B97F4A7C15 % 2**63
SYNTHETIC_POOL = 4  # distinct synthetic batches; they are transferred again every step


class Batches(Protocol):
    """Effective batches by number.

    ``ahead`` says how many batches may have been made before they are requested; a trial takes at
    least as many steps before it is timed.
    """

    real: bool
    epoch_images: int | None
    ahead: int

    def start(self) -> None:
        """Batches 0, 1, 2 ... are about to be requested: what makes them ahead may begin."""

    def stop(self) -> None:
        """Nothing is made ahead any more, and nothing that was is kept; ``batch`` still works."""

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Images (B, channels, size, size) float32 and labels (B,) int64, on the host.

        Images may be a view that is not contiguous; the harness copies what it moves.
        """

    def held(self) -> list[Tensor]:
        """The host tensors that the source keeps; they are no workload's."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """Labelled single-channel images, (n, 1, size, size) and (n,)."""

    images: Tensor
    labels: Tensor


def load_digits(size: int, seed: int) -> tuple[Images, Images]:
    """The digits, standardised, resized (bilinear) and split into training and held-out sets."""
    pixels, digits = embedded_digits()
    images = torch.from_numpy(pixels).float().unsqueeze(1)
    images = (images - images.mean()) / images.std()
    images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(digits).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    train, held = order[:DIGITS_TRAINING], order[DIGITS_TRAINING:]
    return (
        Images(images=images[train], labels=labels[train]),
        Images(images=images[held], labels=labels[held]),
    )


class _InMemory:
    """Nothing to start or stop."""

    ahead = 0

    def start(self) -> None:
        """See ``Batches``."""

    def stop(self) -> None:
        """See ``Batches``."""


class Digits(_InMemory):
    """Shuffled epochs over the training digits, without end."""

    real = True

    def __init__(self, recipe: Recipe, pin: bool = False) -> None:
        self._pin = pin
        self._train, self.held_out = load_digits(recipe.image_size, recipe.seed)
        self._recipe = recipe
        self._shuffles = Shuffles(len(self._train.labels), recipe.seed)
        self.epoch_images: int | None = len(self._train.labels)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """See ``Batches``; the last images of an epoch are followed by the first of the next.

        The channels are one channel seen several times: they become real in the transfer.
        """
        index = self._shuffles.chosen(number * self._recipe.batch, self._recipe.batch)
        images = self._train.images[index].expand(-1, self._recipe.channels, -1, -1)
        if self._pin:
            return images.contiguous().pin_memory(), self._train.labels[index].pin_memory()
        return images, self._train.labels[index]

    def held(self) -> list[Tensor]:
        """See ``Batches``."""
        return [self._train.images, self._train.labels, *self._shuffles.held()]


class Synthetic(_InMemory):
    """A small pool of seeded random batches, used in turn."""

    real = False
    epoch_images: int | None = None

    def __init__(self, recipe: Recipe, pin: bool) -> None:
        # Not the seed itself: the weights are drawn from that one.
        generator = torch.Generator().manual_seed((recipe.seed + _DATA_STREAM) % 2**63)
        shape = (recipe.batch, recipe.channels, recipe.image_size, recipe.image_size)
        self._pool = []
        for _ in range(SYNTHETIC_POOL):
            images = torch.randn(shape, generator=generator)
            labels = torch.randint(recipe.classes, (recipe.batch,), generator=generator)
            self._pool.append(
                (images.pin_memory(), labels.pin_memory()) if pin else (images, labels)
            )

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """See ``Batches``."""
        return self._pool[number % SYNTHETIC_POOL]

    def held(self) -> list[Tensor]:
        """See ``Batches``."""
        return [tensor for pair in self._pool for tensor in pair]


def make_batches(recipe: Recipe, device_type: str) -> Batches:
    """The recipe's data for a device type; nothing is made ahead until ``start``.

    Raises:
        DataError: the files are not there, or not those that the recipe was made for.
    """
    if recipe.data in FILE_DATA:
        from ffprof.harness.data.loader import FileBatches  # imports torchvision

        return FileBatches(recipe, device_type)
    sources: dict[str, Callable[[], Batches]] = {
        "digits": lambda: Digits(recipe, pin=device_type == "cuda"),
        "synthetic": lambda: Synthetic(recipe, pin=device_type == "cuda"),
    }
    return sources[recipe.data]()


def cut(images: Tensor, labels: Tensor, micro_batch: int) -> list[tuple[Tensor, Tensor]]:
    """The batch as host views of at most ``micro_batch`` images each."""
    return list(zip(images.split(micro_batch), labels.split(micro_batch), strict=True))
