"""A folder of images, one sub-folder a class, as torchvision's ``ImageFolder`` sees it.

Looked through without torch, before anything is started: what can be seen to be wrong from names,
sizes and first bytes is said at once. Hidden folders and files, which editors and file managers
leave behind, are skipped, and ``skipped`` names them; nothing else is.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ffprof.errors import DataError
from ffprof.harness.data.catalogue import DataInfo

# torchvision.datasets.folder.IMG_EXTENSIONS; any case.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
CLASS_LIST = "imagenet100.txt"  # of a folder, as its publishers name it
HEADERS_UP_TO = 20_000  # images; beyond, opening every file would take too long

# How files of these formats begin; Netpbm's are P1 to P6.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"GIF8")
_NETPBM = tuple(b"P%d" % number for number in range(1, 7))


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Class names in the order of their labels, and (path relative to the root, bytes) by class."""

    classes: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    skipped: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 over class names, relative names and sizes."""
        return fingerprint(self.classes, self.files)


def fingerprint(classes: Sequence[str], files: Iterable[tuple[str, int]]) -> str:
    """SHA-256 over class names, relative file names and sizes in bytes."""
    digest = hashlib.sha256()
    for name in classes:
        digest.update(os.fsencode(name) + b"\0")
    for name, size in files:
        digest.update(b"%s\0%d\n" % (os.fsencode(name), size))
    return digest.hexdigest()


def look_through(root: str, only: Sequence[str] | None = None) -> ImageFiles:
    """The images under a folder, in torchvision's order.

    Args:
        root: the folder.
        only: the class folders that are meant, in the order of their labels; all by default.

    Raises:
        DataError: no folder, fewer than two classes, one of ``only`` missing, a class without
            images, a file that cannot be an image, splits in the place of classes, or a link that
            leads back.
    """
    if only is None:
        _check_no_splits(root)
    classes = class_folders(root) if only is None else _these(root, only)
    files: list[tuple[str, int]] = []
    seen = {os.path.realpath(root): root}
    for name in classes:
        before = len(files)
        files += (
            (path[len(root) :].lstrip("/"), _size(path)) for path in _images(root, name, seen)
        )
        if len(files) == before:
            raise DataError(
                f"the class folder {os.path.join(root, name)} holds no images",  # noqa: PTH118
                f"images end in {', '.join(EXTENSIONS)}; fill the folder or remove it",
            )
    if len(files) <= HEADERS_UP_TO:
        for name, _ in files:
            _check_header(os.path.join(root, name))  # noqa: PTH118
    hidden = _hidden(root, classes)
    return ImageFiles(classes=tuple(classes), files=tuple(files), skipped=tuple(hidden))


# ``train``, ``val2017``, ``test_set``: parts of a data set, and of which.
_SPLIT = re.compile(
    r"(train|val|test|dev|eval)(ing|id|idation)?([-_ ]?(set|data|split|images|\d+))?"
)


def _check_no_splits(root: str) -> None:
    """Refuse a folder of splits, which would silently become classes.

    Raises:
        DataError: several of its folders are named like different parts of a data set, or all are.
    """
    names, _ = _entries(root)
    splits = {name: found[1] for name in names if (found := _SPLIT.fullmatch(name.lower()))}
    if len(splits) > 1 and ("train" in splits.values() or len(splits) == len(names)):
        train = next((name for name in splits if splits[name] == "train"), names[0])
        raise DataError(
            f"{root} holds {' and '.join(splits)}, which are splits of a data set, not classes",
            f"name the split that is meant: imagefolder:{os.path.join(root, train)}",  # noqa: PTH118
        )


def _hidden(root: str, classes: Sequence[str]) -> list[str]:
    """Hidden entries of the folder and of its classes, relative to it."""
    found = []
    for folder in ("", *classes):
        with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118
            names = sorted(entry.name for entry in entries if entry.name.startswith("."))
        found += [os.path.join(folder, name) for name in names]  # noqa: PTH118
    return found


def two_levels(root: str) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
    """The fine classes of a tree ROOT/COARSE/FINE/IMAGE, and the coarse class of each.

    Fine classes are named ``COARSE/FINE``, in the order of their labels; coarse ones are numbered
    as they are sorted. None if the tree has one level: a folder of the first level has images of
    its own, or no folders, or none of them has more than one (then these sort nothing).

    Raises:
        DataError: no folder, fewer than two classes, or one that cannot be read.
    """
    fine: list[str] = []
    parents: list[int] = []
    coarse = class_folders(root)
    for number, name in enumerate(coarse):
        folders, files = _entries(os.path.join(root, name))  # noqa: PTH118
        if not folders or any(one.lower().endswith(EXTENSIONS) for one in files):
            return None
        fine += (f"{name}/{one}" for one in folders)
        parents += [number] * len(folders)
    return (tuple(fine), tuple(parents)) if len(fine) > len(coarse) else None


def listed_classes(info: DataInfo, root: Path) -> tuple[str, ...] | None:
    """The class folders that the list in a folder of ImageNet-100 names, in the order of labels.

    The list is the published one, a WordNet id a line (Tian, Krishnan and Isola, "Contrastive
    Multiview Coding", 2019), so that all of ImageNet may lie there. None without a list, and for
    other sets: then every folder is a class.

    Raises:
        DataError: the list cannot be read, or does not name as many as there are classes.
    """
    if info.name != "imagenet100":
        return None
    path = root / CLASS_LIST
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}", "replace it") from error
    names = tuple(sorted(set(text.split())))
    if len(names) != info.classes or any("/" in name or name.startswith(".") for name in names):
        raise DataError(
            f"{path} does not name {info.classes} class folders", f"get it from {info.source}"
        )
    return names


def _these(root: str, only: Sequence[str]) -> Sequence[str]:
    _entries(root)  # if it cannot be read, that is what is wrong
    missing = [name for name in only if not os.path.isdir(os.path.join(root, name))]  # noqa: PTH112, PTH118
    if missing:
        raise DataError(
            f"{root} lacks {len(missing)} of the {len(only)} class folders that belong to it, such "
            f"as {missing[0]}",
            "complete it, or name another folder",
        )
    return only


def _entries(root: str) -> tuple[list[str], list[str]]:
    """Folders and files in a folder, each sorted."""
    try:
        with os.scandir(root) as entries:
            found = sorted(
                (entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")
            )
    except OSError as error:
        _unreadable(error, "name a folder that can be read")
    return [name for name, inner in found if inner], [name for name, inner in found if not inner]


def class_folders(root: str) -> list[str]:
    """Names of the class folders, in the order of their labels.

    Raises:
        DataError: no folder, or fewer than two classes.
    """
    classes, _ = _entries(root)
    if len(classes) < 2:
        found = "only one class folder" if classes else "no class folders"
        raise DataError(
            f"{root} holds {found}",
            "imagefolder:DIR needs one sub-folder of images for each of at least two classes",
        )
    return classes


def _images(root: str, name: str, seen: dict[str, str]) -> Iterator[str]:
    """Paths of the images of a class; ``seen`` are real folders by where they were found.

    Raises:
        DataError: a folder is found twice, through a link, or is not readable.
    """
    found, top = [], os.path.join(root, name)  # noqa: PTH118
    real = os.path.realpath(top)
    if os.path.realpath(root).startswith(real.rstrip(os.sep) + os.sep) or real == os.path.realpath(
        root
    ):
        raise DataError(f"{top} is a link to a folder that it is in", "remove the link")
    _take_note(top, real, seen)
    for folder, folders, names in os.walk(top, onerror=_stop, followlinks=True):
        folders[:] = [one for one in folders if not one.startswith(".")]
        for one in folders:
            path = os.path.join(folder, one)  # noqa: PTH118
            _take_note(path, os.path.realpath(path), seen)
        found.append((folder, names))
    for folder, names in sorted(found):
        for one in sorted(names):
            if one.lower().endswith(EXTENSIONS) and not one.startswith("."):
                yield os.path.join(folder, one)  # noqa: PTH118


def _take_note(path: str, real: str, seen: dict[str, str]) -> None:
    if real in seen:
        raise DataError(
            f"{path} and {seen[real]} are the same folder, by a link",
            "remove the link: the same images would be found again and again",
        )
    seen[real] = path


def _stop(error: OSError) -> None:
    _unreadable(error, "make it readable")


def _size(path: str) -> int:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError as error:
        _unreadable(error, "repair or remove the file")
    if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
        what = "is empty" if stat.S_ISREG(found.st_mode) else "is not a file"
        raise DataError(f"{path} {what}", "repair or remove it")
    return found.st_size


def _check_header(path: str) -> None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            start = file.read(4)
    except OSError as error:
        _unreadable(error, "make the file readable")
    if not start.startswith(_SIGNATURES) and not start.startswith(_NETPBM):
        raise DataError(f"{path} is not an image", "repair or remove it")


def _unreadable(error: OSError, fix: str) -> NoReturn:
    raise DataError(f"cannot read {error.filename}: {error.strerror or error}", fix) from error
