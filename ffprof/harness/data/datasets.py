"""Pictures on a disk, decoded one by one, through torchvision's data sets.

PIL decodes, as in torchvision's own loader, and the transforms then work on tensors. Measured on
one core of a virtual EPYC, JPEGs of 500x375 to byte crops of 224x224: 1.46 ms an image like this,
1.89 ms with transforms on PIL images. torchvision.io.decode_jpeg gives the same pixels in 1.16 ms,
but is deprecated since torchvision 0.29.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from ffprof.errors import DataError
from ffprof.harness.data.arrays import read_arrays, read_picture
from ffprof.harness.data.catalogue import DATA, TREES, DataInfo, find_data
from ffprof.harness.data.folder import EXTENSIONS, class_folders, fingerprint, listed_classes
from ffprof.records.recipe import Recipe

# ImageNet's statistics are usual for other photographs, too.
PHOTOGRAPHS = DATA["imagenet100"]
MOST_PADDING = 4  # pixels, both sides together: 28 become 32, as is usual


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
    info = find_data(recipe.data)
    if info.name in TREES:
        root = str(Path(recipe.data_root) / info.parts()["train"])
        return FolderPictures(
            root, recipe.data_fingerprint, listed_classes(info, Path(recipe.data_root))
        )
    return ArrayPictures(recipe.data, recipe.data_root)


class _Folders(ImageFolder):  # type: ignore[misc]
    """With classes that are given; these may be folders of folders."""

    def __init__(self, root: str, only: Sequence[str]) -> None:
        self._only = list(only)

        def is_seen(path: str) -> bool:

            hidden = any(part.startswith(".") for part in Path(path).relative_to(root).parts)
            return not hidden and path.lower().endswith(EXTENSIONS)

        super().__init__(root, is_valid_file=is_seen)

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        return self._only, {name: label for label, name in enumerate(self._only)}


class FolderPictures:
    """``ImageFolder``'s but for what is hidden; with a fingerprint, they must still be the same.

    ``only`` names the class folders that are meant, in the order of their labels.
    """

    def __init__(self, root: str, expected: str = "", only: Sequence[str] | None = None) -> None:
        try:
            found = _Folders(root, class_folders(root) if only is None else only)
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
        pixels = read_picture(self._paths[index])
        return torch.from_numpy(pixels).permute(2, 0, 1), self._labels[index]

    @property
    def labels(self) -> Tensor:
        """(n,) int64."""
        return torch.tensor(self._labels)


class ArrayPictures:
    """The training images of a set that is held in memory; grey ones are seen three times."""

    def __init__(self, name: str, root: str) -> None:
        # Arrays of numpy: a trial counts the tensors that live.
        self._images, self._labels, _ = read_arrays(name, root, "train")

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, index: int) -> tuple[Tensor, int]:
        """See ``Pictures``."""
        return torch.from_numpy(self._images[index]).expand(3, -1, -1), int(self._labels[index])


def is_padded(info: DataInfo, size: int) -> bool:
    """Whether images are padded to a size, not resized: grey ones, whose background is black."""
    return info.size is not None and info.channels == 1 and 0 < size - info.size <= MOST_PADDING


def training_transform(recipe: Recipe) -> v2.Compose:
    """The usual augmentation of training: (3, height, width) uint8 to (3, size, size) float32.

    Photographs: RandomResizedCrop. Images of one size: RandomCrop with a padding, then Resize if
    the recipe wants another size; grey ones, whose background is black, are padded before to a
    size that is a little larger. Both are flipped unless that changes what they show.
    """
    size, info = recipe.image_size, DATA.get(recipe.data, PHOTOGRAPHS)
    steps: list[v2.Transform] = []
    if info.size is None:
        steps.append(v2.RandomResizedCrop(size))
    else:
        more = size - info.size
        padded = is_padded(info, size)
        if padded:
            steps.append(v2.Pad([more // 2, more // 2, more - more // 2, more - more // 2]))
        steps.append(v2.RandomCrop(size if padded else info.size, padding=info.crop_padding))
    if info.flips:
        steps.append(v2.RandomHorizontalFlip())
    if info.size is not None and more and not padded:
        steps.append(v2.Resize((size, size)))
    scale = v2.ToDtype(torch.float32, scale=True)
    copies = 3 // info.channels
    mean, deviation = list(info.mean) * copies, list(info.deviation) * copies
    return v2.Compose([*steps, scale, v2.Normalize(mean, deviation, inplace=True)])
