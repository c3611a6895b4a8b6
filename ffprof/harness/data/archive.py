"""Sets that come in archives: checked by their sums, unpacked, or downloaded if requested.

Runs in a child, because torchvision imports torch.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ffprof.errors import DataError
from ffprof.harness.data.catalogue import (
    TREES,
    DataInfo,
    file_folder,
    find_data,
    lies_in,
)
from ffprof.harness.data.folder import listed_classes, look_through
from ffprof.harness.data.source import DataSet
from ffprof.records.recipe import DataName


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of a set, its MD5 sum, and where to get it; ``contents`` is that of what it packs."""

    path: Path
    md5: str
    urls: tuple[str, ...] = ()
    contents: str = ""

    def right(self) -> bool:
        """Whether it is there and what it should be."""
        from torchvision.datasets.utils import check_integrity

        if check_integrity(self.path, self.md5):
            return True
        if not self.contents or not self.path.is_file():
            return False
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with gzip.open(self.path) as file:
                while block := file.read(2**20):
                    digest.update(block)
        except (OSError, EOFError, zlib.error):  # damaged
            return False
        return digest.hexdigest() == self.contents


def archive_child(
    sender: Connection, kind: DataName, root: str, download: bool, look_only: bool
) -> None:
    """Send what is about to be done as words, then ``DataSet`` or a ``DataError``."""
    try:
        sender.send(find_archive(kind, root, download, sender.send, look_only=look_only))
    except DataError as error:
        sender.send(error)


def find_archive(
    kind: DataName,
    root: str,
    download: bool,
    say: Callable[[str], None],
    *,
    look_only: bool = False,
) -> DataSet:
    """Make sure that a set lies in a folder as it is read from there.

    Unpacked files that are missing or wrong are unpacked again from the archive if its sum is
    right; archives that are missing or wrong are downloaded if that is requested. Neither is done
    with ``look_only``.

    Raises:
        DataError: it does not, and cannot be made to.
    """
    info = find_data(kind)
    archives = _archives(info, Path(root))
    read = _unpacked(info, Path(root)) if info.unpacked else archives
    try:
        wrong = [part.path for part in read if not part.right()]
        if info.name in TREES and not (Path(root) / info.folder).is_dir():
            wrong = [Path(root) / info.folder]
        if wrong and (not info.unpacked or not all(part.right() for part in archives)):
            if not download:
                _missing(info, root, archives, wrong)
            if look_only:
                _undone(info, root, archives)
            _download(info, root, archives, say)
        elif wrong and look_only:
            _undone(info, root, archives)
        if wrong and info.unpacked:
            _unpack(archives, root)
        return _found(info, kind, root, read)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{kind} in {root} cannot be made ready: {error}", "see that the folder can be written"
        ) from error


def check_archive(kind: DataName, root: str) -> None:
    """Check the sums of a set that is there; nothing is written.

    Raises:
        DataError: it is damaged or not whole.
    """
    info = find_data(kind)
    if not info.files:
        for part in info.parts().values():
            look_through(f"{root}/{part}", listed_classes(info, Path(root)))
        return
    archives = _archives(info, Path(root))
    # What was unpacked is unpacked again if it is not right; only trees are read as they are.
    tree = info.name in TREES and (Path(root) / info.folder).is_dir()
    if info.unpacked and not tree and all(part.right() for part in archives):
        return
    find_archive(kind, root, False, print, look_only=True)


def _archives(info: DataInfo, root: Path) -> list[Part]:
    """The files of the catalogue; CIFAR's and STL-10's as torchvision has them."""
    folder = file_folder(info, root) or root
    theirs = _torchvision(info)
    if theirs is not None:
        return [Part(path=folder / theirs.filename, md5=theirs.tgz_md5, urls=(theirs.url,))]
    return [
        Part(
            path=folder / name,
            md5=md5,
            urls=tuple(f"{mirror}{name}" for mirror in info.mirrors),
            contents=info.contents.get(name, ""),
        )
        for name, md5 in info.files.items()
    ]


def _torchvision(info: DataInfo) -> Any:
    """The class that knows what is in an archive; None if none does."""
    from torchvision.datasets import STL10

    from ffprof.harness.data.arrays import CIFAR

    return {**CIFAR, "stl10": STL10}.get(info.name)


def _unpacked(info: DataInfo, root: Path) -> list[Part]:
    """What must be right of the files that an archive is unpacked to; those of trees have no sums.

    STL-10's unlabelled images are three gigabytes, and are not read.
    """
    theirs = _torchvision(info)
    if theirs is None:
        return []
    listed = [*theirs.train_list, *theirs.test_list]
    if hasattr(theirs, "meta"):
        listed.append([theirs.meta["filename"], theirs.meta["md5"]])
    return [
        Part(path=root / theirs.base_folder / name, md5=md5)
        for name, md5 in listed
        if not name.startswith("unlabeled")
    ]


def _found(info: DataInfo, kind: DataName, root: str, read: Sequence[Part]) -> DataSet:
    if info.name in TREES:
        seen = look_through(str(Path(root) / info.parts()["train"]))
        images, fingerprint, classes = len(seen.files), seen.fingerprint(), len(seen.classes)
        if classes != info.classes:
            raise DataError(
                f"{kind} in {root} has {classes} classes, not {info.classes}", "unpack it again"
            )
    else:
        from ffprof.harness.data.arrays import read_arrays

        images = len(read_arrays(kind, root, "train")[1])
        text = "".join(f"{part.path.name} {part.md5}\n" for part in read)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return DataSet(
        kind=kind, root=root, classes=info.classes, images=images, fingerprint=fingerprint
    )


def _undone(info: DataInfo, root: str, archives: Sequence[Part]) -> None:
    undone = "extracted" if all(part.path.exists() for part in archives) else "downloaded"
    raise DataError(
        f"{info.name} has not been {undone} into {root} yet, and a dry run writes nothing",
        "run without --dry-run, or plan with --data digits or synthetic",
    )


def _unpack(archives: Sequence[Part], root: str) -> None:
    from torchvision.datasets.utils import extract_archive

    for part in archives:
        extract_archive(str(part.path), root)


def _missing(info: DataInfo, root: str, archives: Sequence[Part], wrong: Sequence[Path]) -> None:
    names = ", ".join(part.path.name for part in archives)
    bad = next(
        (path for path in [*(p.path for p in archives if not p.right()), *wrong] if path.is_file()),
        None,
    )
    if bad is not None:
        url = next((u for p in archives if bad == p.path for u in p.urls), archives[0].urls[0])
        raise DataError(
            f"{bad} has a wrong checksum: it is damaged, or not {info.name}",
            f"replace it, or remove it and run again with --download ({url})",
        )
    if lies_in(info, Path(root)) or any(part.path.exists() for part in archives):
        raise DataError(f"{wrong[0]} is missing", f"put {names} into {root}, or add --download")
    raise DataError(f"there is no {info.name} in {root}", f"put {names} there, or add --download")


def _download(
    info: DataInfo, root: str, archives: Sequence[Part], say: Callable[[str], None]
) -> None:
    for part in archives:
        if not part.right():
            _fetch(info, root, part, say)


def _fetch(info: DataInfo, root: str, part: Part, say: Callable[[str], None]) -> None:
    """From the first of its addresses that has it."""
    from torchvision.datasets.utils import download_url

    before = part.path.exists()
    for number, url in enumerate(part.urls):
        say(f"downloading {info.name} from {url} to {root}")
        try:
            download_url(url, str(part.path.parent), part.path.name, part.md5)
            return
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            if not before:
                part.path.unlink(missing_ok=True)  # half of it would look like a damaged one
            if number == len(part.urls) - 1:
                raise DataError(
                    f"{url} cannot be downloaded ({error})",
                    f"check the network, or put {part.path.name} into {root}",
                ) from error
