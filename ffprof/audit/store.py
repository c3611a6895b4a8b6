"""Result files: written atomically, read with suspicion.

A file is written to a temporary one in the same folder, flushed to the disk and renamed, so a
reader sees the old record or the new one, never half of one.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ffprof.audit.reading import Contents, read_contents
from ffprof.errors import ForeignFileError, RecordError, StoreError
from ffprof.record import SCHEMA_VERSION, Record

AGAIN = "make one with `ffprof run --out DIR`"


def load(path: str | Path) -> Record:
    """Read and validate a result file.

    Raises:
        ForeignFileError: a result of another kind, or JSON of something else.
        RecordError: absent, not a file, too large, not JSON, of a newer schema, or not a record.
    """
    return record_in(read_contents(Path(path), AGAIN))


def record_in(contents: Contents) -> Record:
    """What a file holds, as the record of an audit.

    Raises:
        ForeignFileError: of another kind.
        RecordError: of a newer schema, or not a record.
    """
    if isinstance(contents.kind, str):
        raise ForeignFileError(
            f"{contents.path} holds a {contents.kind[:50]!r}, not an audit",
            "ffprof report prints it",
        )
    return contents.as_record(Record, SCHEMA_VERSION)


def find_record(path: Path, patterns: tuple[str, ...] = ("audit-*.json",)) -> Path:
    """The file itself, or the newest result file in a folder; ``patterns`` are of their names.

    Raises:
        RecordError: a folder with none, or that cannot be read.
    """
    try:
        if not path.is_dir():
            return path
        files = newest_first(path, patterns)
    except OSError as error:
        raise RecordError(
            f"cannot read {str(path)[:200]}: {error.strerror or error}", "name a result file"
        ) from error
    if not files:
        raise RecordError(f"there is no result file in {path}", "run ffprof run --out DIR first")
    return files[0]


def newest_first(folder: Path, patterns: tuple[str, ...] = ("audit-*.json",)) -> list[Path]:
    """The result files of a folder, unread.

    Raises:
        OSError: one is gone by now, or cannot be looked at.
    """
    files = [file for pattern in patterns for file in folder.glob(pattern)]
    return sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)


def save(record: Record, path: Path) -> None:
    """Write a record atomically.

    Raises:
        StoreError: the folder cannot be written to.
    """
    write_atomically(path, record.model_dump_json(indent=1) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by another in one step.

    Raises:
        StoreError: the folder cannot be written to.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        mode = 0o666 & ~_umask()
        os.chmod(temporary, mode)  # noqa: PTH101  # mkstemp made it private
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def prepare_folder(folder: Path) -> None:
    """Make the output folder and prove that it can be written to.

    Raises:
        StoreError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".ffprof-"):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a record."""
    return Record.model_json_schema(mode="serialization")


def json_schema_text() -> str:
    """The JSON Schema as it lies in docs/record.schema.json."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write to {path}: {error.strerror or error}",
        "name a folder you may write to with --out DIR",
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
