"""What ``--data`` means: a kind of data, the folder of data on a disk, and what is found in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ffprof.errors import UsageError, did_you_mean
from ffprof.harness.data.catalogue import DATA, find_place, own_place
from ffprof.records.recipe import FILE_DATA, DataName

_KINDS: tuple[DataName, ...] = get_args(DataName)
_USE = f"use {', '.join(kind for kind in _KINDS if kind != 'imagefolder')} or imagefolder:DIR"


@dataclass(frozen=True, kw_only=True)
class DataWords:
    """A kind of data, and the absolute path of its folder or an empty string."""

    kind: DataName
    root: str = ""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Data of a kind; what is not known (yet) is None or empty.

    ``skipped`` are hidden entries of its folders.
    """

    kind: DataName
    root: str = ""
    classes: int | None = None
    images: int | None = None
    fingerprint: str = ""
    skipped: tuple[str, ...] = ()

    def note(self) -> str:
        """What was left out, in words; or nothing."""
        if not self.skipped:
            return ""
        more = f" and {len(self.skipped) - 3} more" if len(self.skipped) > 3 else ""
        return f"hidden, so no part of the data: {', '.join(self.skipped[:3])}{more}"

    def changes(self) -> dict[str, Any]:
        """What it fixes in a recipe."""
        fixed = {"data": self.kind, "data_root": self.root, "data_fingerprint": self.fingerprint}
        return fixed if self.classes is None else {**fixed, "classes": self.classes}


def parse_data(words: str) -> DataWords:
    """``KIND`` or ``KIND:DIR``; the folder may hold colons, and ``~`` is the user's home.

    A set of the catalogue without a folder is the one that lies in a place where it is looked for,
    or else is to be in ffprof's own.

    Raises:
        UsageError: an unknown kind, a folder that is missing, or one that is not wanted.
    """
    name, colon, folder = words.partition(":")
    if not folder.isprintable():
        raise UsageError(f"--data {name}: the folder's name cannot be written down", "rename it")
    kind = next((known for known in _KINDS if known == name), None)
    if kind is None:
        raise UsageError(
            f"--data {words!r}: there is no data {name!r}", f"{did_you_mean(name, _KINDS)}{_USE}"
        )
    if kind not in FILE_DATA:
        if colon:
            raise UsageError(f"--data {words!r}: {kind} takes no folder", f"write --data {kind}")
        return DataWords(kind=kind)
    if not colon and kind in DATA:
        return DataWords(kind=kind, root=str(_usual_place(kind)))
    if not folder.strip():
        raise UsageError(f"--data {words!r} names no folder", f"write --data {kind}:DIR")
    return DataWords(kind=kind, root=os.path.abspath(os.path.expanduser(folder)))  # noqa: PTH100, PTH111


def _usual_place(kind: DataName) -> Path:
    try:
        return find_place(DATA[kind]) or own_place(DATA[kind])
    except RuntimeError as error:
        raise UsageError(f"--data {kind}: {error}", f"write --data {kind}:DIR") from error
