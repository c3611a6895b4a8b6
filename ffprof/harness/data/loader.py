"""Batches from files: torch's DataLoader, with workers, pinned memory and prefetching.

Every epoch sees each image once, in an order drawn from the seed. What is at a position of the
endless sequence of images depends on the recipe's seed and on the position alone, augmentation
included. So batches are the same for every workload and any number of workers, and one can also be
made here, without workers, as gradient checks and untimed passes do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ffprof.errors import DataError
from ffprof.harness.data.datasets import Pictures, open_pictures, training_transform
from ffprof.harness.data.discovery import PREFETCH
from ffprof.records.recipe import Recipe


class Shuffles:
    """Endless positions over ``total`` images.

    The last images of an epoch are followed by the first of the next.
    """

    def __init__(self, total: int, seed: int) -> None:
        self.total = total
        self._seed = seed
        self._orders: dict[int, Tensor] = {}

    def chosen(self, start: int, count: int) -> Tensor:
        """Indices of the images at ``count`` positions from ``start`` on, (count,) int64."""
        position, end, parts = start, start + count, []
        while position < end:
            epoch, offset = divmod(position, self.total)
            parts.append(self._order(epoch)[offset : offset + end - position])
            position += len(parts[-1])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def held(self) -> list[Tensor]:
        """The tensors that are kept."""
        return list(self._orders.values())

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
            self._orders = {
                **{k: v for k, v in self._orders.items() if k >= epoch - 1},
                epoch: torch.randperm(self.total, generator=generator),
            }
        return self._orders[epoch]


_AUGMENTATION_STREAM = 0xD1B54A32D192ED03 % 2**63


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """What stands in a batch's place if one of its images cannot be read.

    An error that is raised in a worker would come back as its traceback.
    """

    problem: str
    fix: str


class Augmented(Dataset[Any]):
    """Augmented images by their position in the endless, shuffled sequence."""

    def __init__(self, recipe: Recipe, pictures: Pictures) -> None:
        self._pictures, self._seed = pictures, recipe.seed
        self._transform = training_transform(recipe)
        self.shuffles = Shuffles(len(pictures), recipe.seed)

    def __getitem__(self, position: int) -> tuple[Tensor, int] | Unreadable:
        index = int(self.shuffles.chosen(position, 1))
        try:
            picture, label = self._pictures.read(index)
        except DataError as error:
            return Unreadable(problem=error.problem, fix=error.fix)
        # torchvision draws from torch's own generator, which is also the workload's: it is put
        # back. Not torch.manual_seed, which would reach for CUDA.
        with torch.random.fork_rng(devices=[]):
            seed = (self._seed * 1_000_003 + position + _AUGMENTATION_STREAM) % 2**63
            torch.default_generator.manual_seed(seed)
            return self._transform(picture), label


class _Endless:
    """The positions of batch 0, 1, 2 and so on."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __iter__(self) -> Iterator[range]:
        return (range(n * self._size, (n + 1) * self._size) for n in count())


def collate(samples: list[tuple[Tensor, int] | Unreadable]) -> Any:
    """A batch of pictures and labels, or the first picture that cannot be read."""
    unreadable = next((one for one in samples if isinstance(one, Unreadable)), None)
    return unreadable or default_collate(samples)


def worker_context(device_type: str) -> BaseContext:
    """How workers are started: forked from a CPU trial, from a clean server next to CUDA.

    Forking a process that has started CUDA is not done anywhere here.
    """
    if device_type != "cuda":
        return get_context("fork")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def taken(iterator: Iterator[Any]) -> Any:
    """The next batch; torch notices a worker that died, but not one that dies handing it over."""
    try:
        return next(iterator)
    except (ConnectionError, EOFError) as error:
        raise DataError(
            f"a data worker died while it handed over a batch ({type(error).__name__}: {error})",
            "use fewer --data-workers",
        ) from error


class FileBatches:
    """See ``batches.Batches``; between ``start`` and ``stop``, workers make them."""

    real = True

    def __init__(self, recipe: Recipe, device_type: str) -> None:
        self._size, self._workers = recipe.batch, recipe.data_workers or 0
        self._device_type = device_type
        self._dataset = Augmented(recipe, open_pictures(recipe))
        self._iterator: Iterator[Any] | None = None
        self._next = 0
        self.epoch_images: int | None = self._dataset.shuffles.total
        self.ahead = PREFETCH * self._workers

    def start(self, context: BaseContext | None = None) -> None:
        """Start the workers; batches are then made ahead, from number 0 on."""
        self._next = 0
        loader = DataLoader(
            self._dataset,
            batch_sampler=_Endless(self._size),  # type: ignore[arg-type]
            collate_fn=collate,
            num_workers=self._workers,
            pin_memory=self._device_type == "cuda",
            prefetch_factor=PREFETCH if self._workers else None,
            multiprocessing_context=(context or worker_context(self._device_type))
            if self._workers
            else None,
            # Else a number is drawn from torch's own generator, which is the workload's.
            generator=torch.Generator(),
        )
        self._iterator, self._next = iter(loader), 0

    def stop(self) -> None:
        """End the workers, and drop what they have made ahead."""
        self._iterator = None  # the iterator's end waits for its workers'

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """See ``Batches``.

        Raises:
            DataError: an image cannot be read, or a worker died while it handed over its batch.
        """
        if self._iterator is not None and number == self._next:
            self._next += 1
            made = taken(self._iterator)
        else:
            made = self._made_here(number)
        if isinstance(made, Unreadable):
            raise DataError(made.problem, made.fix)
        images, labels = made
        return images, labels

    def _made_here(self, number: int) -> Any:
        first, threads = number * self._size, torch.get_num_threads()
        torch.set_num_threads(1)  # as in a worker: one image has no work for more
        try:
            return collate([self._dataset[n] for n in range(first, first + self._size)])
        finally:
            torch.set_num_threads(threads)

    def held(self) -> list[Tensor]:
        """See ``Batches``."""
        return self._dataset.shuffles.held()
