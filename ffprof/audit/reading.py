"""Files that ffprof wrote, read with suspicion: what a file holds is never trusted, only checked.

Audits and frontiers are read alike; which of the two a file holds is told by its ``kind``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from ffprof.errors import ForeignFileError, RecordError

MAX_BYTES = 64 * 1024 * 1024
MANY = 1000  # wrong things, of which not even the first is looked for: all would be written out
_TOLD = 500  # characters of what is wrong
# Lists and objects of a file: so few may be anywhere, and others are so many bytes apart.
_FEW, _BETWEEN = 200_000, 32
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file holds: JSON with a ``schema_version``, and nothing else is known of it.

    ``again`` says how such a file is made, for errors.
    """

    path: Path
    document: dict[str, Any]
    version: int
    kind: object
    again: str

    def as_record(self, model: type[Model], newest: int) -> Model:
        """The file as a record of schema ``newest`` or older.

        Raises:
            RecordError: of a newer schema, or not a record.
        """
        if self.version > newest:
            version = cut(str(self.version), 40)
            raise RecordError(
                f"{self.path} has schema {version}, but this ffprof reads up to {newest}",
                "upgrade ffprof with pip install --upgrade ffprof",
            )
        try:
            # Of JSON, every complaint would copy what surrounds it.
            return model.model_validate(self.document)
        except ValidationError as error:
            problem = f"{self.path} is not a valid record: {first_problem(error)}"
            raise RecordError(problem, self.again) from error


def read_contents(path: Path, again: str) -> Contents:
    """Read a file.

    Raises:
        ForeignFileError: it is JSON, and has no version.
        RecordError: absent, not a file, too large, not JSON, or with another kind of version.
    """
    data = _read(path, again)
    document = _parsed(path, data, again)
    if not isinstance(document, dict) or "schema_version" not in document:
        raise ForeignFileError(f"{path} is JSON, but not a record of ffprof", again)
    version = document["schema_version"]
    if isinstance(version, bool) or not isinstance(version, int):
        raise RecordError(f"{path} has no readable schema_version", again)
    return Contents(
        path=path, document=document, version=version, kind=document.get("kind"), again=again
    )


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints, in one short line with the field's full name."""
    count = error.error_count()
    if count > MANY:
        return f"{count:,} things are wrong with it"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = cut(".".join(str(part) for part in first["loc"]), _TOLD // 2)
    message = cut(first["msg"].removeprefix("Value error, "), _TOLD)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{field}: {message}{more}" if field else f"{message}{more}"


def cut(text: str, most: int) -> str:
    """The text, or its beginning where it is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _read(path: Path, again: str) -> bytes:
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
    except ValueError as error:  # a path with a zero byte in it
        raise RecordError(f"cannot read {path}: {error}", "name a result file") from error
    if len(data) > MAX_BYTES:
        raise RecordError(f"{path} is larger than any record", "name a result file of ffprof run")
    return data


def _parsed(path: Path, data: bytes, again: str) -> Any:
    # Each takes twenty times its two bytes, so a small file could fill the memory.
    if data.count(b"[") + data.count(b"{") > _FEW + len(data) // _BETWEEN:
        raise RecordError(f"{path} is not JSON, or has more lists than any record", again)
    try:
        return from_json(data)
    except ValueError as error:
        raise RecordError(f"{path} is not JSON ({error})", again) from error
