"""The micro-batches of a run's epochs, from images in memory.

An epoch is as many whole batches as the training images fill, in an order drawn from the seed; the
images left over take their turn in another epoch. What is fed at a step depends on the seed and
on the step alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from ffprof.errors import UsageError
from ffprof.harness.data.augmentation import Draws, Preparation, draw
from ffprof.harness.data.task import TaskData
from ffprof.records.recipe import Recipe

Part = tuple[Tensor, Tensor]


class EpochBatches:
    """The micro-batches of every step, as they are stored, augmented on the device.

    Raises:
        UsageError: fewer images than a batch takes.
    """

    def __init__(
        self, data: TaskData, recipe: Recipe, micro_batch: int, device: torch.device
    ) -> None:
        self._images, self._data, self._recipe = data.train, data, recipe
        self._micro, self._device = micro_batch, device
        self._fed: tuple[Tensor, Tensor] | None = None
        self.steps = len(data.train) // recipe.batch
        self.seconds = 0.0  # that making batches has taken
        if not self.steps:
            raise UsageError(
                f"{len(data.train)} training images are fewer than a batch of {recipe.batch}",
                "use a smaller --batch (and --micro-batch), or more images",
            )
        self.prepare = Preparation(
            data.mean,
            data.deviation,
            recipe.channels,
            data.padding,
            torch.channels_last
            if recipe.memory_format == "channels_last"
            else torch.contiguous_format,
        )

    def epoch(self, number: int) -> Iterator[Iterator[Part]]:
        """The parts of one step after the other, of epoch ``number``, counted from 0.

        Each part must be fed before the next is drawn: ``prepare`` is set for it.
        """
        began = time.perf_counter()
        data, seed, total = self._data, self._recipe.seed, len(self._images)
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
        order = torch.randperm(total, generator=generator)
        draws = None
        if data.padding or data.flips:
            draws = draw(total, data.padding, flips=data.flips, seed=seed, epoch=number)
        self.seconds += time.perf_counter() - began
        for step in range(self.steps):
            yield self._parts(order, draws, step * self._recipe.batch)

    def _parts(self, order: Tensor, draws: Draws | None, first: int) -> Iterator[Part]:
        pinned = self._device.type == "cuda"
        for start in range(first, first + self._recipe.batch, self._micro):
            began = time.perf_counter()
            places = slice(start, start + self._micro)
            index = order[places]
            images, labels = self._images.images[index], self._images.labels[index]
            if pinned:
                images, labels = images.pin_memory(), labels.pin_memory()
            self.prepare.draws = None if draws is None else draws.of(places)
            self._fed = images, labels
            self.seconds += time.perf_counter() - began
            yield images, labels

    def again(self) -> Part:
        """The part that was fed last, on the device, as the network takes it."""
        if self._fed is None:
            raise ValueError("nothing has been fed yet")
        images, labels = self._fed
        return self.prepare(images.to(self._device)), labels.to(self._device)

    def held(self) -> list[Tensor]:
        """The tensors that are kept between steps; they are no workload's."""
        return [*(self._fed or ()), *self.prepare.held()]

    def ready(self) -> Part:
        """A whole batch on the host as the network takes it, not augmented."""
        self.prepare.draws = None
        places = slice(self._recipe.batch)
        images = self.prepare(self._images.images[places])
        return images, self._images.labels[places]

    def prepared(self, images: Tensor) -> Tensor:
        """Images on the device as the network takes them; the time counts as data."""
        began = time.perf_counter()
        x = self.prepare(images)
        self.seconds += time.perf_counter() - began
        return x
