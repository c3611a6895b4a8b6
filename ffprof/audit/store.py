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

from pydantic import ValidationError
from pydantic_core import from_json

from ffprof.errors import RecordError, StoreError
from ffprof.record import SCHEMA_VERSION, Record

MAX_BYTES = 256 * 1024 * 1024


def load(path: str | Path) -> Record:
    """Read and validate a result file.

    Raises:
        RecordError: absent, not a file, too large, not JSON, of a newer schema, or not a record.
    """
    path = Path(path)
    again = "make one with `ffprof run --out DIR`"
    try:
        if path.exists() and not path.is_file():
            raise RecordError(f"{path} is not a file", "name a result file of ffprof run")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise RecordError(f"there is no result file {path}", again) from error
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror or error}"
        raise RecordError(problem, "name a result file such as DIR/audit-small.json") from error
    if len(data) > MAX_BYTES:
        raise RecordError(f"{path} is larger than any record", "name a result file of ffprof run")
    _check_version(path, data, again)
    try:
        return Record.model_validate_json(data)
    except ValidationError as error:
        raise RecordError(f"{path} is not a valid record: {first_problem(error)}", again) from error


def find_record(path: Path) -> Path:
    """The file itself, or the newest result file in a folder.

    Raises:
        RecordError: a folder with none, or that cannot be read.
    """
    try:
        if not path.is_dir():
            return path
        files = newest_first(path)
    except OSError as error:
        raise RecordError(
            f"cannot read {str(path)[:200]}: {error.strerror or error}", "name a result file"
        ) from error
    if not files:
        raise RecordError(f"there is no result file in {path}", "run ffprof run --out DIR first")
    return files[0]


def newest_first(folder: Path) -> list[Path]:
    """The result files of a folder, unread.

    Raises:
        OSError: one is gone by now, or cannot be looked at.
    """
    return sorted(folder.glob("audit-*.json"), key=lambda file: file.stat().st_mtime, reverse=True)


def _check_version(path: Path, data: bytes, again: str) -> None:
    try:
        document = from_json(data)
    except ValueError as error:
        raise RecordError(f"{path} is not JSON ({error})", again) from error
    if not isinstance(document, dict) or "schema_version" not in document:
        raise RecordError(f"{path} is JSON, but not a record of ffprof", again)
    version = document["schema_version"]
    if isinstance(version, bool) or not isinstance(version, int):
        raise RecordError(f"{path} has no readable schema_version", again)
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"{path} has schema {version}, but this ffprof reads up to {SCHEMA_VERSION}",
            "upgrade ffprof with pip install --upgrade ffprof",
        )


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints, in one line with the field's full name."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{field}: {message}{more}" if field else f"{message}{more}"


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
