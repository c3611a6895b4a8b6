"""Whole data sets in memory, decoded once, through torchvision's own readers.

Sums are not looked at here, because hashing gigabytes whenever a trial starts takes long: that was
done by ``archive``, once. Only CIFAR's are, by torchvision, since what is in it is unpickled.
"""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100, STL10, SVHN
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.datasets.utils import extract_archive

from ffprof.errors import DataError
from ffprof.hardware.machine import usable_cpus
from ffprof.harness.data.catalogue import DataInfo, file_folder, find_data
from ffprof.harness.data.digits import DIGITS_TRAINING, FULL, embedded_digits
from ffprof.harness.data.folder import class_folders, look_through
from ffprof.harness.process.folder import temporary_folder

Split = Literal["train", "test"]
Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

CIFAR = {"cifar10": CIFAR10, "cifar100": CIFAR100}
_SPLIT_SEED = 0  # of the digits that are held out
_ANNOTATIONS = "val_annotations.txt"

# How readers complain about files that are absent, damaged or others than they should be.
_DAMAGE = (
    OSError, EOFError, ValueError, TypeError, KeyError, IndexError, RuntimeError, AssertionError,
    OverflowError, MemoryError, zlib.error, pickle.UnpicklingError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Images (n, channels, height, width) uint8, labels (n,) int64, and coarse ones if any."""

    images: Tensor
    labels: Tensor
    coarse: Tensor | None


def load_arrays(name: str, root: str, split: Split) -> Arrays:
    """A part of a data set; nothing is written into its folder.

    Args:
        name: as in the catalogue.
        root: where it lies, in torchvision's layout or as archives; nothing for digits.
        split: training images, or those that are held out.

    Raises:
        DataError: it cannot be read, or is not what it should be.
        UsageError: there is no such set.
    """
    images, labels, coarse = read_arrays(name, root, split)
    return Arrays(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        labels=torch.from_numpy(labels),
        coarse=None if coarse is None else torch.from_numpy(coarse),
    )


def read_arrays(name: str, root: str, split: Split) -> tuple[Pixels, Labels, Labels | None]:
    """The same, as arrays of numpy, which may be views."""
    info = find_data(name)
    if name not in _READERS:
        raise DataError(f"{info.title} is not held in memory", "read its folders")
    try:
        images, told, *more = _READERS[name](info, Path(root), split)
        labels = np.asarray(told, dtype=np.int64)
        coarse = np.asarray(more[0], dtype=np.int64) if more else None
        _check(info, images, labels, coarse)
    except _DAMAGE as error:
        reason = str(error).strip() or type(error).__name__
        raise DataError(
            f"cannot read {name} from {root}: {reason}",
            f"ffprof data {name}:{root} --check looks at its files",
        ) from error
    if info.groups:
        coarse = np.asarray(info.coarse_labels(), dtype=np.int64)[labels]
    return images, labels, coarse


def _check(info: DataInfo, images: Pixels, labels: Labels, coarse: Labels | None) -> None:
    count, shape = len(labels), (info.channels, info.size, info.size)
    if images.shape != (count, *shape) or images.dtype != np.uint8 or not count:
        raise ValueError(f"{images.dtype} images {images.shape} and {count} labels do not fit")
    for numbers, classes in ((labels, info.classes), (coarse, info.coarse_classes)):
        if numbers is None or classes is None:
            continue
        if numbers.shape != (count,) or numbers.min() < 0 or numbers.max() >= classes:
            raise ValueError(f"labels are not 0 to {classes - 1}")


def _digits(info: DataInfo, root: Path, split: Split) -> tuple[Any, ...]:
    pixels, labels = embedded_digits()
    images = np.rint(pixels * (255 / FULL)).astype(np.uint8)[:, None]
    generator = torch.Generator().manual_seed(_SPLIT_SEED)
    order = torch.randperm(len(labels), generator=generator).numpy()
    chosen = order[:DIGITS_TRAINING] if split == "train" else order[DIGITS_TRAINING:]
    return images[chosen], labels[chosen]


def _idx(info: DataInfo, root: Path, split: Split) -> tuple[Any, ...]:
    folder = file_folder(info, root)
    if folder is None:
        raise FileNotFoundError(f"not all of {', '.join(info.files)} are there")
    start = "train" if split == "train" else "t10k"
    with temporary_folder() as unpacked:
        found = []
        for kind, read in (("images-idx3", read_image_file), ("labels-idx1", read_label_file)):
            archive = folder / f"{start}-{kind}-ubyte.gz"
            found.append(read(extract_archive(str(archive), str(unpacked))))
    # Arrays of their own: a trial counts the tensors that live.
    return found[0].numpy().copy()[:, None], found[1].numpy().copy()


class _Svhn(SVHN):  # type: ignore[misc]
    def _check_integrity(self) -> bool:
        return True


def _svhn(info: DataInfo, root: Path, split: Split) -> tuple[Any, ...]:
    from scipy.io.matlab import MatReadError

    try:
        found = _Svhn(root, split=split)
    except MatReadError as error:
        raise ValueError(str(error)) from error
    # In the file an image's bytes lie apart from each other.
    return np.ascontiguousarray(found.data), found.labels


def _cifar(info: DataInfo, root: Path, split: Split) -> tuple[Any, ...]:
    cifar = CIFAR[info.name]
    found = cifar(root, train=split == "train")
    images = found.data.transpose(0, 3, 1, 2)  # a view of what torchvision has made (n, 32, 32, 3)
    if info.coarse_classes is None:
        return images, found.targets
    coarse: list[int] = []
    for name, _ in cifar.train_list if split == "train" else cifar.test_list:
        with (root / cifar.base_folder / name).open("rb") as file:
            coarse += pickle.load(file, encoding="latin1")["coarse_labels"]
    return images, found.targets, coarse


class _Stl10(STL10):  # type: ignore[misc]
    def _check_integrity(self) -> bool:
        return True


def _stl10(info: DataInfo, root: Path, split: Split) -> tuple[Any, ...]:
    found = _Stl10(root, split=split)
    return found.data, found.labels


def _tiny(info: DataInfo, root: Path, split: Split) -> tuple[Any, ...]:
    parts = info.parts()
    train = str(root / parts["train"])
    if split == "train":
        seen = look_through(train)
        label_of = {name: label for label, name in enumerate(seen.classes)}
        labels = [label_of[path.partition("/")[0]] for path, _ in seen.files]
        paths = [f"{train}/{path}" for path, _ in seen.files]
    else:
        folder = root / parts["test"]
        label_of = {name: label for label, name in enumerate(class_folders(train))}
        lines = (folder / _ANNOTATIONS).read_text().splitlines()
        rows = [line.split("\t")[:2] for line in lines if line]
        paths = [str(folder / "images" / name) for name, _ in rows]
        labels = [label_of[name] for _, name in rows]
    return _decoded(paths), labels


def _decoded(paths: Sequence[str]) -> Pixels:
    with ThreadPoolExecutor(usable_cpus()) as threads:  # PIL decodes without Python's lock
        return np.stack(list(threads.map(read_picture, paths))).transpose(0, 3, 1, 2)


def read_picture(path: str) -> Pixels:
    """A picture as PIL decodes it, (height, width, 3) in RGB.

    Raises:
        DataError: it cannot be decoded; the file is named.
    """
    try:
        with Image.open(path) as image:
            # Converting what is RGB already would copy it.
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
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


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image in a known format"
    return str(error).strip() or type(error).__name__


_READERS: dict[str, Callable[[DataInfo, Path, Split], tuple[Any, ...]]] = {
    "digits": _digits, "mnist": _idx, "fashion-mnist": _idx, "kmnist": _idx, "svhn": _svhn,
    "cifar10": _cifar, "cifar100": _cifar, "stl10": _stl10, "tiny-imagenet": _tiny,
}  # fmt: skip
