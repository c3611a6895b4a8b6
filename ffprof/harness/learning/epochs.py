"""The micro-batches of a run's epochs, and what turns stored images into a network's input.

An epoch is as many whole batches as the training images fill; the images left over take their turn
in another epoch. What is fed at a step depends on the seed and on the step alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from ffprof.errors import UsageError
from ffprof.harness.learning.augmentation import Draws, Preparation
from ffprof.harness.learning.images import LabelledImages, Part
from ffprof.harness.learning.task import TaskData
from ffprof.records.recipe import Recipe


class EpochBatches:
    """The parts of every step, on the host as they are stored, and ``prepared`` on the device.

    Args:
        data: the task's.
        recipe: batch, seed, channels and memory format.
        micro_batch: images of a part.
        device: where they are trained on.

    Raises:
        UsageError: fewer images than a batch takes.
    """

    def __init__(
        self, data: TaskData, recipe: Recipe, micro_batch: int, device: torch.device
    ) -> None:
        self._images, self._recipe, self._micro, self._device = (
            data.train, recipe, micro_batch, device,
        )  # fmt: skip
        self._fed: Part | None = None
        self.steps = len(data.train) // recipe.batch
        self.seconds = 0.0  # that making batches has taken
        if not self.steps:
            raise UsageError(
                f"{len(data.train)} training images are fewer than a batch of {recipe.batch}",
                "use a smaller --batch (and --micro-batch), or more images",
            )
        last = recipe.memory_format == "channels_last"
        self.prepare = Preparation(
            data.mean,
            data.deviation,
            recipe.channels,
            data.train.padding if isinstance(data.train, LabelledImages) else 0,
            torch.channels_last if last else torch.contiguous_format,
        )

    def epoch(self, number: int) -> Iterator[Iterator[Part]]:
        """The parts of one step after the other, of epoch ``number``, counted from 0.

        Each part must be fed before the next is taken: ``prepare`` is set for it.
        """
        batches = self._images.epoch(
            self._recipe.batch, self._recipe.seed, number, self._device.type
        )
        for _ in range(self.steps):
            began = time.perf_counter()
            images, labels, draws = next(batches)
            self.seconds += time.perf_counter() - began
            yield self._parts(images, labels, draws)

    def _parts(self, images: Tensor, labels: Tensor, draws: Draws | None) -> Iterator[Part]:
        for start in range(0, len(labels), self._micro):
            places = slice(start, start + self._micro)
            self.prepare.draws = None if draws is None else draws.of(places)
            self._fed = images[places], labels[places]
            yield self._fed

    def prepared(self, images: Tensor) -> Tensor:
        """Images on the device as the network takes them; the time counts as data."""
        began = time.perf_counter()
        x = self.prepare(images)
        self.seconds += time.perf_counter() - began
        return x

    def again(self) -> Part:
        """The part that was fed last, on the device, as the network takes it."""
        if self._fed is None:
            raise ValueError("nothing has been fed yet")
        images, labels = self._fed
        return self.prepare(images.to(self._device)), labels.to(self._device)

    def held(self) -> list[Tensor]:
        """The tensors that are kept between steps; they are no workload's."""
        return [*(self._fed or ()), *self._images.held(), *self.prepare.held()]

    def ready(self) -> Part:
        """A whole batch on the host as the network takes it, not augmented."""
        self.prepare.draws = None
        images, labels = next(self._images.batches(self._recipe.batch, "cpu"))
        return self.prepare(images), labels
