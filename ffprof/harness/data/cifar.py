"""CIFAR in a folder: checked by torchvision's checksums, extracted, or downloaded if requested.

Runs in a child, because torchvision imports torch.
"""

from __future__ import annotations

import hashlib
import http.client
import tarfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ffprof.errors import DataError
from ffprof.harness.data.source import DataSet
from ffprof.records.recipe import DATA_CLASSES, DataName


def cifar_child(
    sender: Connection, kind: DataName, root: str, download: bool, look_only: bool
) -> None:
    """Send what is about to be done as words, then ``DataSet`` or a ``DataError``."""
    try:
        sender.send(find_cifar(kind, root, download, sender.send, look_only=look_only))
    except DataError as error:
        sender.send(error)


def find_cifar(
    kind: DataName,
    root: str,
    download: bool,
    say: Callable[[str], None],
    *,
    look_only: bool = False,
) -> DataSet:
    """Make sure that CIFAR lies in a folder as torchvision reads it.

    Files that are missing or wrong are extracted from the archive if its checksum is right; without
    one they are downloaded if that is requested. Neither is done with ``look_only``.

    Raises:
        DataError: it does not, and cannot be made to.
    """
    from torchvision.datasets.utils import check_integrity, extract_archive

    from ffprof.harness.data.datasets import CIFAR

    cifar: Any = CIFAR[kind]
    folder, archive = Path(root) / cifar.base_folder, Path(root) / cifar.filename
    listed = [*cifar.train_list, *cifar.test_list, [cifar.meta["filename"], cifar.meta["md5"]]]
    try:
        wrong = [folder / name for name, md5 in listed if not check_integrity(folder / name, md5)]
        if wrong and look_only and (download or check_integrity(archive, cifar.tgz_md5)):
            undone = "extracted" if archive.exists() else "downloaded"
            raise DataError(
                f"{kind} has not been {undone} into {root} yet, and a dry run writes nothing",
                "run without --dry-run, or plan with --data digits or synthetic",
            )
        if wrong and check_integrity(archive, cifar.tgz_md5):
            extract_archive(str(archive), root)
        elif wrong and download:
            say(f"downloading {kind} from {cifar.url} to {root}")
            _download(cifar, root, archive)
        elif wrong:
            _missing(kind, cifar, root, archive, wrong)
        pictures = cifar(root, train=True)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise DataError(
            f"{kind} in {root} cannot be made ready: {error}", "see that the folder can be written"
        ) from error
    text = "".join(f"{name} {md5}\n" for name, md5 in listed)
    return DataSet(
        kind=kind,
        root=root,
        classes=DATA_CLASSES[kind],
        images=len(pictures),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
    )


def _missing(kind: str, cifar: Any, root: str, archive: Path, wrong: list[Path]) -> None:
    bad = next((path for path in [archive, *wrong] if path.is_file()), None)
    if bad is not None:
        raise DataError(
            f"{bad} has a wrong checksum: it is damaged, or not {kind}",
            f"replace it, or remove it and run again with --download ({cifar.url})",
        )
    if wrong[0].parent.is_dir():
        raise DataError(
            f"{wrong[0]} is missing", f"put {cifar.filename} into {root}, or add --download"
        )
    raise DataError(
        f"there is no {kind} in {root}", f"put {cifar.filename} there, or add --download"
    )


def _download(cifar: Any, root: str, archive: Path) -> None:
    before = archive.exists()
    try:
        cifar(root, download=True)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        if not before:
            archive.unlink(missing_ok=True)  # half of it would look like a damaged one
        raise DataError(
            f"{cifar.url} cannot be downloaded ({error})",
            f"check the network, or put {cifar.filename} into {root}",
        ) from error
