"""The synthetic teacher-student task: white-noise images, labelled by a random network.

The published teacher is not known; this one is a reconstruction. Its layers are conv3x3 without
bias (Kaiming), ReLU and 2x2 average pooling (none after the last), then the mean over positions
and one linear map to the classes. Each logit is standardised over ``PILOT`` images of a stream of
their own, so that no class wins by its offset; the label is the largest.

Everything follows from the teacher's seed: training images are the same however many are asked
for, and validation and test images come from streams of their own. Label noise is of training
labels alone: the others are what the teacher says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ffprof.errors import DataError
from ffprof.records.learning import Teacher

PILOT = 2048  # images that logits are standardised over
_CHUNK = 1000  # images drawn at a time; part of what a seed means
_MOST_DRAWN = 50  # times as many images as are wanted, to fill the rarest class
Stream = Literal["train", "validation", "test"]
_WEIGHTS, _PILOT = 0, 1  # streams of random numbers, as are those of images
_STREAMS: dict[Stream, int] = {"train": 2, "test": 3, "validation": 4}


class LabellingNetwork:
    """A teacher with weights, for images of one shape."""

    def __init__(self, teacher: Teacher, classes: int, channels: int, size: int) -> None:
        if size >> (teacher.depth - 1) < 1:
            raise DataError(
                f"a teacher of depth {teacher.depth} halves images of {size} pixels to nothing",
                "use a smaller depth or larger images",
            )
        self._teacher, self._classes = teacher, classes
        self._shape = (channels, size, size)
        drawn = self._stream(_WEIGHTS)
        inputs = [channels] + [teacher.width] * (teacher.depth - 1)
        self._layers = [
            torch.randn(teacher.width, c, 3, 3, generator=drawn) * (2 / (9 * c)) ** 0.5
            for c in inputs
        ]
        self._head = torch.randn(teacher.width, classes, generator=drawn)
        pilot = torch.randn((PILOT, *self._shape), generator=self._stream(_PILOT))
        logits = torch.cat([self._raw(part) for part in pilot.split(_CHUNK)])
        self._mean, self._deviation = logits.mean(0), logits.std(0)

    def _stream(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed((self._teacher.seed * 1_000_003 + number) % 2**63)

    def _raw(self, images: Tensor) -> Tensor:
        x = images
        for number, weight in enumerate(self._layers):
            x = F.relu(F.conv2d(x, weight, padding=1))
            if number + 1 < len(self._layers):
                x = F.avg_pool2d(x, 2)
        return x.mean((2, 3)) @ self._head

    def labels(self, images: Tensor) -> Tensor:
        """Images (n, channels, size, size) -> labels (n,) int64, without noise."""
        return ((self._raw(images) - self._mean) / self._deviation).argmax(1)

    def _drawn(self, stream: Stream) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels, ``_CHUNK`` at a time, without end."""
        generator = self._stream(_STREAMS[stream])
        share = self._teacher.label_noise if stream == "train" else 0.0
        while True:
            images = torch.randn((_CHUNK, *self._shape), generator=generator)
            labels = self.labels(images)
            noisy = torch.rand(_CHUNK, generator=generator) < share
            others = torch.randint(self._classes, (_CHUNK,), generator=generator)
            yield images, torch.where(noisy, others, labels)

    def images(self, count: int, stream: Stream) -> tuple[Tensor, Tensor]:
        """``count`` images (count, channels, size, size) float32 and labels (count,) int64.

        Balanced: as many of each class, up to one; those that are too many are passed over.

        Raises:
            DataError: a class is too rare to be balanced.
        """
        room = torch.full((self._classes,), count)
        if self._teacher.balanced:
            room = torch.full((self._classes,), count // self._classes)
            room[: count % self._classes] += 1
        parts = [torch.empty((0, *self._shape))]
        labels, left = [torch.empty(0, dtype=torch.int64)], count
        for number, (drawn, answer) in enumerate(self._drawn(stream)):
            if not left:
                break
            if number * _CHUNK > _MOST_DRAWN * count + _CHUNK:
                rare = int(room.argmax())
                raise DataError(
                    f"the teacher gives label {rare} too rarely to balance {self._classes} classes",
                    "use fewer classes, another --teacher-seed, or --unbalanced",
                )
            place = F.one_hot(answer, self._classes).cumsum(0).gather(1, answer[:, None])[:, 0]
            kept = (place <= room[answer]).nonzero()[:left, 0]
            room -= torch.bincount(answer[kept], minlength=self._classes)
            parts.append(drawn[kept])
            labels.append(answer[kept])
            left -= len(kept)
        return torch.cat(parts), torch.cat(labels)
