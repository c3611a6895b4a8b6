"""From a task to its images in memory: which classes, which labels, which images train and test.

Validation images are the same share of every class of the whole training set, drawn once and for
all (``SPLIT_SEED``), so no image of a data set validates in one task and trains in another.
Training images are drawn from the rest of each class by the seed of the run and the class alone.
So tasks of more classes, of more samples, and of coarse labels hold the images of smaller ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from ffprof.errors import DataError, UsageError
from ffprof.harness.data.arrays import Split, load_arrays
from ffprof.harness.data.catalogue import DATA, DataInfo
from ffprof.harness.data.datasets import PHOTOGRAPHS, FolderPictures, is_padded
from ffprof.harness.data.folder import class_folders, listed_classes, two_levels
from ffprof.harness.learning.images import Images, LabelledImages
from ffprof.harness.learning.photographs import Photographs
from ffprof.harness.learning.teacher import LabellingNetwork, Stream
from ffprof.records.learning import Task, Training
from ffprof.records.recipe import Recipe

SPLIT_SEED = 0
_NO_SHIFT = "leave --shift out"
TEST_SHARE = 0.1  # of each class, where a folder has no test set of its own


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """Everything that a run reads; the test images not before ``load_test`` is called.

    Images are as they lie in their files, at the recipe's size; ``mean`` and ``deviation`` are of
    their values, by channel. ``groups`` (classes,) is the group of each class, where classes have
    some.
    """

    train: Images
    validation: Images
    load_test: Callable[[], Images]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    groups: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class _Source:
    """All images of one part of a data set: labels (n,), coarse ones if any, and how to take some.

    ``take`` is told places (m,) and their labels in the task.
    """

    labels: Tensor
    coarse: Tensor | None
    take: Callable[[Tensor, Tensor], Images]


def load_task(recipe: Recipe, training: Training, task: Task) -> TaskData:
    """The images of a task; ``recipe.seed`` is that of the run.

    Raises:
        DataError: images are missing or damaged.
        UsageError: there are fewer classes or images than the task wants.
    """
    if task.teacher is not None:
        return _synthetic(recipe, training, task)
    info = DATA.get(recipe.data, PHOTOGRAPHS)
    found = _source(recipe, info, "train")
    classes = chosen_classes(task, _label_count(found, task))
    kept, labels = _relabelled(found, task, classes)
    validates, _ = split(found.labels, training.validation)
    held = torch.zeros(len(found.labels), dtype=torch.bool)
    held[validates] = True
    held = held[kept]
    rest = (~held).nonzero()[:, 0]
    train = rest[drawn(found.labels[kept[rest]], labels[rest], task, recipe.seed)]
    validation = held.nonzero()[:, 0]

    def load_test() -> Images:
        held_out = _source(recipe, info, "test")
        return held_out.take(*_relabelled(held_out, task, classes))

    shown = found.take(kept[train], labels[train])
    return TaskData(
        train=_augmented(shown, info, recipe.image_size, training.shift)
        if training.augmentation
        else shown,
        validation=found.take(kept[validation], labels[validation]),
        load_test=load_test,
        mean=tuple(255 * one for one in info.mean),
        deviation=tuple(255 * one for one in info.deviation),
        groups=_groups(found, classes) if task.labels == "fine" else None,
    )


def _source(recipe: Recipe, info: DataInfo, part: Split) -> _Source:
    if info.size is None:
        return _folders(recipe, info, part)
    found = load_arrays(recipe.data, recipe.data_root, part)

    def take(places: Tensor, labels: Tensor) -> Images:
        images = fitted(found.images[places], info, recipe.image_size)
        return LabelledImages(images=images, labels=labels)

    return _Source(labels=found.labels, coarse=found.coarse, take=take)


def _folders(recipe: Recipe, info: DataInfo, part: Split) -> _Source:
    """Photographs; of a folder of the user's own, a tenth of each class is the test set."""
    root, coarse = recipe.data_root, None
    if recipe.data == "imagefolder":
        levels = two_levels(root)
        pictures = FolderPictures(root, only=levels and levels[0])
        tested, trained = split(pictures.labels, TEST_SHARE)
        places = tested if part == "test" else trained
        labels = pictures.labels[places]
        coarse = None if levels is None else torch.tensor(levels[1])[labels]
    else:
        parts = {name: str(Path(root) / folder) for name, folder in info.parts().items()}
        # The folders of training number the classes of both parts.
        only = listed_classes(info, Path(root)) or tuple(class_folders(parts["train"]))
        other = set(class_folders(parts["test"]))
        if not set(only) <= other:
            missing = min(set(only) - other)
            raise DataError(
                f"{parts['test']} lacks {missing} and so has no test images of that class",
                "complete it",
            )
        pictures = FolderPictures(parts[part], only=only)
        labels, places = pictures.labels, torch.arange(len(pictures))

    def take(chosen: Tensor, new_labels: Tensor) -> Images:
        return Photographs(
            pictures=pictures,
            places=places[chosen],
            labels=new_labels,
            size=recipe.image_size,
            workers=recipe.data_workers or 0,
        )

    return _Source(labels=labels, coarse=coarse, take=take)


def _augmented(shown: Images, info: DataInfo, size: int, shift: int | None) -> Images:
    if isinstance(shown, Photographs):
        if shift is not None:
            raise UsageError("photographs are cropped and resized, not shifted", _NO_SHIFT)
        return replace(shown, augmented=True)
    if isinstance(shown, LabelledImages):
        padding = _padding(info, size) if shift is None else shift
        return replace(shown, padding=padding, flips=info.flips)
    return shown


def _padding(info: DataInfo, size: int) -> int:
    """How far crops are shifted, in pixels of images of this size."""
    if info.size is None or is_padded(info, size):
        return info.crop_padding
    return round(info.crop_padding * size / info.size)


def _synthetic(recipe: Recipe, training: Training, task: Task) -> TaskData:
    """White noise is its own augmentation: none is applied."""
    teacher = task.teacher
    if teacher is None:
        raise ValueError("the task has no teacher")
    if training.shift is not None:
        raise UsageError("white noise is not augmented", _NO_SHIFT)
    network = LabellingNetwork(teacher, task.classes, recipe.channels, recipe.image_size)
    held = round(training.validation * teacher.samples)

    def part(name: Stream, count: int) -> LabelledImages:
        images, labels = network.images(count, name)
        return LabelledImages(images=images, labels=labels)

    return TaskData(
        train=part("train", teacher.samples),
        validation=part("validation", held),
        load_test=lambda: part("test", teacher.test),
        mean=(0.0,) * recipe.channels,
        deviation=(1.0,) * recipe.channels,
    )


def chosen_classes(task: Task, available: int) -> Tensor:
    """The labels that take part, in order, (classes,).

    Raises:
        UsageError: there are not so many.
    """
    if task.classes > available:
        raise UsageError(
            f"{task.classes} classes are wanted, the data has {available}",
            f"use at most {available}",
        )
    if task.drawn_by is None:
        return torch.arange(task.classes)
    order = torch.randperm(available, generator=torch.Generator().manual_seed(task.drawn_by))
    return order[: task.classes].sort().values


def split(labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Places of validation and training images; the same share of every class validates.

    At least one image of each class validates, where any is to.

    Raises:
        DataError: a class has too few images for both.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    validates = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist() if share else ():
        places = order[labels[order] == label]
        held = max(1, round(share * len(places)))
        if held == len(places):
            raise DataError(
                f"class {label} has {len(places)} image, and one is to be held out",
                "add images to it",
            )
        validates[places[:held]] = True
    return validates.nonzero()[:, 0], (~validates).nonzero()[:, 0]


def drawn(fine: Tensor, labels: Tensor, task: Task, seed: int) -> Tensor:
    """Places of the training images among those that may train, by the run's seed.

    Images of a fine class come in an order of their own, and a class of the task takes as many of
    each of its fine classes, up to one. ``samples`` in all are as many of each fine class, up to
    one, whatever the labels are: so heads on coarse and on fine labels see the same images.

    Args:
        fine: (n,) labels of the data.
        labels: (n,) labels of the task.
        task: how many.
        seed: of the run.

    Raises:
        UsageError: a class has fewer.
    """
    if task.samples is None and task.samples_per_class is None:
        return torch.arange(len(fine))
    known = fine.unique().tolist()
    wanted = dict.fromkeys(known, task.samples_per_class or 0)
    if task.samples is not None:
        wanted = _shares(task.samples, known)
    elif task.labels == "coarse":
        for label in labels.unique().tolist():
            wanted |= _shares(task.samples_per_class or 0, fine[labels == label].unique().tolist())
    parts = []
    for label, count in wanted.items():
        places = (fine == label).nonzero()[:, 0]
        if len(places) < count:
            asked = "" if task.samples is None else f" of {task.samples} in all"
            raise UsageError(
                f"{count} training images of each class{asked} are wanted, and class {label} has "
                f"{len(places)}",
                f"use at most {len(places)} of each, or a smaller --validation",
            )
        stream = torch.Generator().manual_seed((seed * 1_000_003 + label) % 2**63)
        parts.append(places[torch.randperm(len(places), generator=stream)[:count]])
    return torch.cat(parts).sort().values


def _shares(total: int, classes: list[int]) -> dict[int, int]:
    """As many for each class, the first ones with one more."""
    each, more = divmod(total, len(classes))
    return {label: each + (number < more) for number, label in enumerate(classes)}


def _label_count(found: _Source, task: Task) -> int:
    labels = found.labels if task.labels == "fine" else found.coarse
    if labels is None:
        raise UsageError(
            "this data has no coarse labels", "use --labels fine, or data with two levels"
        )
    return int(labels.max()) + 1


def _relabelled(found: _Source, task: Task, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Places of what has a chosen label, and its labels counted from 0."""
    labels = found.labels if task.labels == "fine" or found.coarse is None else found.coarse
    numbers = torch.full((int(torch.cat((labels, classes)).max()) + 1,), -1)
    numbers[classes] = torch.arange(len(classes))
    new = numbers[labels]
    kept = (new >= 0).nonzero()[:, 0]
    return kept, new[kept]


def _groups(found: _Source, classes: Tensor) -> Tensor | None:
    """The group of each chosen class; None without groups, or if all are in one."""
    if found.coarse is None:
        return None
    by_label = torch.zeros(int(found.labels.max()) + 1, dtype=torch.int64)
    by_label[found.labels] = found.coarse
    groups: Tensor = by_label[classes].unique(return_inverse=True)[1]
    return groups if int(groups.max()) > 0 else None


def fitted(images: Tensor, info: DataInfo, size: int) -> Tensor:
    """Images (n, c, s, s) uint8 at another size: padded with zeros where that is usual, or resized.

    28x28 become 32x32 by two black pixels on each side.
    """
    more = size - images.shape[-1]
    if not more:
        return images
    if is_padded(info, size):
        near, far = more // 2, more - more // 2
        padded: Tensor = transforms.pad(images, [near, near, far, far])
        return padded
    resized: Tensor = transforms.resize(images, [size, size], antialias=True)
    return resized
