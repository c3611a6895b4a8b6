"""What ``--data`` means: a kind of data, the folder of data on a disk, and what is found in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, get_args

from ffprof.errors import UsageError
from ffprof.records.recipe import DATA_CLASSES, FILE_DATA, DataName

DOWNLOADABLE = tuple(kind for kind in FILE_DATA if kind in DATA_CLASSES)
_USE = "use digits, synthetic, cifar10:DIR, cifar100:DIR or imagefolder:DIR"


@dataclass(frozen=True, kw_only=True)
class DataWords:
    """A kind of data, and the absolute path of its folder or an empty string."""

    kind: DataName
    root: str = ""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Data of a kind; what is not known (yet) is None or empty."""

    kind: DataName
    root: str = ""
    classes: int | None = None
    images: int | None = None
    fingerprint: str = ""

    def changes(self) -> dict[str, Any]:
        """What it fixes in a recipe."""
        fixed = {"data": self.kind, "data_root": self.root, "data_fingerprint": self.fingerprint}
        return fixed if self.classes is None else {**fixed, "classes": self.classes}


def parse_data(words: str) -> DataWords:
    """``KIND`` or ``KIND:DIR``; the folder may hold colons, and ``~`` is the user's home.

    Raises:
        UsageError: an unknown kind, a folder that is missing, or one that is not wanted.
    """
    name, colon, folder = words.partition(":")
    if not folder.isprintable():
        raise UsageError(f"--data {name}: the folder's name cannot be written down", "rename it")
    kind: DataName | None = next((known for known in get_args(DataName) if known == name), None)
    if kind is None:
        raise UsageError(f"--data {words!r}: there is no data {name!r}", _USE)
    if kind not in FILE_DATA:
        if colon:
            raise UsageError(f"--data {words!r}: {kind} takes no folder", f"write --data {kind}")
        return DataWords(kind=kind)
    if not folder.strip():
        raise UsageError(f"--data {words!r} names no folder", f"write --data {kind}:DIR")
    return DataWords(kind=kind, root=os.path.abspath(os.path.expanduser(folder)))  # noqa: PTH100, PTH111
