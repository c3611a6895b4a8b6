"""Pictures on a disk, decoded one by one, through torchvision's data sets.

PIL decodes, as in torchvision's own loader, and the transforms then work on tensors. Measured on
one core of a virtual EPYC, JPEGs of 500x375 to byte crops of 224x224: 1.46 ms an image like this,
1.89 ms with transforms on PIL images. torchvision.io.decode_jpeg gives the same pixels in 1.16 ms,
but is deprecated since torchvision 0.29.
"""

from __future__ import annotations

import os
import struct
from typing import Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100, ImageFolder
from torchvision.transforms import v2

from ffprof.errors import DataError
from ffprof.harness.data.folder import fingerprint
from ffprof.records.recipe import Recipe

CIFAR = {"cifar10": CIFAR10, "cifar100": CIFAR100}

# (mean, standard deviation) by channel, of training images scaled to 0..1. ImageNet's as in
# torchvision's references; CIFAR's are those in common use.
STATISTICS = {
    "imagefolder": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
CIFAR_SIZE, CIFAR_PADDING = 32, 4


class Pictures(Protocol):
    """Labelled pictures by index."""

    def __len__(self) -> int:
        """How many."""

    def read(self, index: int) -> tuple[Tensor, int]:
        """A picture (3, height, width) uint8, and its label.

        Raises:
            DataError: it cannot be decoded; the file is named.
        """


def open_pictures(recipe: Recipe) -> Pictures:
    """The recipe's pictures.

    Raises:
        DataError: they are not there, or not those that the recipe was made for.
    """
    if recipe.data == "imagefolder":
        return FolderPictures(recipe.data_root, recipe.data_fingerprint)
    return CifarPictures(recipe.data, recipe.data_root)


class FolderPictures:
    """``ImageFolder``'s; with a fingerprint, they must still be the same."""

    def __init__(self, root: str, expected: str = "") -> None:
        try:
            found = ImageFolder(root)
            samples = found.samples
            sized = ((p[len(root) :].lstrip("/"), os.stat(p).st_size) for p, _ in samples)  # noqa: PTH116
            now = fingerprint(found.classes, sized) if expected else ""
        except OSError as error:
            raise DataError(f"cannot read the images under {root}: {error}", "repair it") from error
        if now != expected:
            raise DataError(
                f"the images under {root} are not those that the audit began with", "run again"
            )
        self._paths = [path for path, _ in samples]
        self._labels = found.targets

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> tuple[Tensor, int]:
        """See ``Pictures``."""
        path = self._paths[index]
        try:
            return _decode(path), self._labels[index]
        # PIL's plug-ins complain in their own ways.
        except (
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            struct.error,
            Image.DecompressionBombError,
        ) as error:
            raise DataError(
                f"{path} cannot be decoded ({_reason(error)})", "repair or remove it"
            ) from error


def _decode(path: str) -> Tensor:
    with Image.open(path) as image:
        # Converting what is RGB already would copy it.
        pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image in a known format"
    return str(error).strip() or type(error).__name__


class CifarPictures:
    """CIFAR's training images, held in memory as torchvision reads them."""

    def __init__(self, kind: str, root: str) -> None:
        try:
            found = CIFAR[kind](root, train=True)
        except (RuntimeError, OSError) as error:
            raise DataError(f"cannot read {kind} from {root}: {error}", "run again") from error
        self._images: np.ndarray = found.data  # (n, 32, 32, 3) uint8: no tensor, so never counted
        self._labels = found.targets

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, index: int) -> tuple[Tensor, int]:
        """See ``Pictures``."""
        return torch.from_numpy(self._images[index]).permute(2, 0, 1), self._labels[index]


def training_transform(recipe: Recipe) -> v2.Compose:
    """The usual augmentation of training: (3, height, width) uint8 to (3, size, size) float32.

    ``imagefolder``: RandomResizedCrop and a flip. CIFAR: RandomCrop with a padding of 4 and a flip,
    then Resize if the recipe wants another size.
    """
    size = recipe.image_size
    if recipe.data == "imagefolder":
        steps = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()]
    else:
        steps = [v2.RandomCrop(CIFAR_SIZE, padding=CIFAR_PADDING), v2.RandomHorizontalFlip()]
        if size != CIFAR_SIZE:
            steps.append(v2.Resize((size, size)))
    mean, deviation = STATISTICS[recipe.data]
    scale = v2.ToDtype(torch.float32, scale=True)
    return v2.Compose([*steps, scale, v2.Normalize(list(mean), list(deviation), inplace=True)])
