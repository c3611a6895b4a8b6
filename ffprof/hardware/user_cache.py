"""Small files that ffprof keeps for the user between commands, written whole and read with care."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """Where they are kept: ffprof/ in XDG_CACHE_HOME, by default ~/.cache.

    A relative XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification asks.

    Raises:
        RuntimeError: nobody's home folder is known.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named and Path(named).is_absolute() else Path.home() / ".cache"
    return base / "ffprof"


def replace_file(path: Path, text: str) -> None:
    """Write a file and, if need be, its folder: a reader sees the old one or the new one.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_at_most(path: Path, most_bytes: int) -> bytes | None:
    """What a file holds; None if that is more than anything that ffprof keeps.

    Raises:
        OSError: it cannot be read, or is not there.
    """
    with path.open("rb") as file:
        raw = file.read(most_bytes + 1)
    return raw if len(raw) <= most_bytes else None
