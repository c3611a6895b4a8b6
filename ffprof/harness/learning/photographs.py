"""Pictures of any size on a disk, as a learning study reads them: through workers, as they come.

Training pictures are cropped at random and flipped (torchvision's ``RandomResizedCrop`` and
``RandomHorizontalFlip``), held-out ones resized and cropped in the middle, as in torchvision's
references. What is drawn for a picture depends on the seed, the epoch and its place in it alone,
so it is the same for any number of workers, and after a resumption.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ffprof.errors import DataError
from ffprof.harness.data.datasets import Pictures
from ffprof.harness.data.discovery import PREFETCH
from ffprof.harness.data.loader import Unreadable, collate, taken, worker_context
from ffprof.harness.learning.images import Drawn, Part, epoch_order

_RESIZED = 256 / 224  # of the crop's side, before a held-out picture is cropped
_STREAM = 0x8EBC6AF09C88C6E3 % 2**63


@dataclass(frozen=True, kw_only=True)
class Photographs:
    """Some pictures of a folder, ``places`` (n,), with ``labels`` (n,) of their own.

    They come as (n, 3, size, size) uint8, loaded by so many ``workers``.
    """

    pictures: Pictures
    places: Tensor
    labels: Tensor
    size: int
    workers: int = 0
    augmented: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def epoch(self, size: int, seed: int, number: int, device_type: str) -> Iterator[Drawn]:
        """See ``Images``.

        Raises:
            DataError: a picture cannot be read, or a worker died.
        """
        order = epoch_order(len(self), seed, number)
        shuffled = replace(self, places=self.places[order], labels=self.labels[order])
        start = ((seed * 1_000_003 + number) * 1_000_003 + _STREAM) % 2**63
        whole = len(self) // size * size
        loaded = _Loaded(shuffled, start if self.augmented else None)
        for images, labels in _batches(loaded, whole, size, self.workers, device_type):
            yield images, labels, None

    def batches(self, size: int, device_type: str) -> Iterator[Part]:
        """See ``Images``; errors as of ``epoch``."""
        return _batches(_Loaded(self, None), len(self), size, self.workers, device_type)

    def held(self) -> list[Tensor]:
        """See ``Images``."""
        return [self.places, self.labels]


class _Loaded(Dataset[Any]):
    """Decoded and cropped pictures by their position; at random with a ``seed``."""

    def __init__(self, of: Photographs, seed: int | None) -> None:
        self._of, self._seed = of, seed
        size = of.size
        self._transform = v2.Compose(
            [v2.Resize(round(size * _RESIZED)), v2.CenterCrop(size)]
            if seed is None
            else [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()]
        )

    def __getitem__(self, position: int) -> tuple[Tensor, int] | Unreadable:
        try:
            picture, _ = self._of.pictures.read(int(self._of.places[position]))
        except DataError as error:
            return Unreadable(problem=error.problem, fix=error.fix)
        label = int(self._of.labels[position])
        if self._seed is None:
            return self._transform(picture), label
        # torchvision draws from torch's own generator, which is also the workload's: it is put
        # back. Not torch.manual_seed, which would reach for CUDA.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed((self._seed + position) % 2**63)
            return self._transform(picture), label


def _batches(
    loaded: _Loaded, count: int, size: int, workers: int, device_type: str
) -> Iterator[Part]:
    """Batches of the first ``count``, as they come from the workers."""
    loader = DataLoader(
        loaded,
        batch_sampler=[list(range(n, min(n + size, count))) for n in range(0, count, size)],
        collate_fn=collate,
        num_workers=workers,
        pin_memory=device_type == "cuda",
        prefetch_factor=PREFETCH if workers else None,
        multiprocessing_context=worker_context(device_type) if workers else None,
        generator=torch.Generator(),  # else a number is drawn from the workload's
    )
    iterator = iter(loader)
    for _ in range(len(loader)):
        made = taken(iterator)
        if isinstance(made, Unreadable):
            raise DataError(made.problem, made.fix)
        yield made[0], made[1]
