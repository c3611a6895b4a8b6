"""Result files, written whole and read with suspicion: what one holds is checked, never trusted.

Audits, frontiers, searches for the largest size and calibrations are read alike; which of them a
file holds is told by its ``kind``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from ffprof.errors import ForeignFileError, RecordError, StoreError
from ffprof.records.audit import SCHEMA_VERSION, Record
from ffprof.records.base import MOST_BYTES, MOST_NOTES
from ffprof.records.calibration import CALIBRATION_VERSION, CalibrationRecord
from ffprof.records.digest import FIELD, Belonging, belonging, digest_of
from ffprof.records.files import (
    foreign_content,
    read_at_most,
    write_atomically,
    write_elsewhere,
)
from ffprof.records.frontier import FRONTIER_VERSION, FrontierRecord
from ffprof.records.learning import LEARNING_VERSION, LearningRecord
from ffprof.records.plausibility import impossible, plausible
from ffprof.records.redaction import recorded

MANY = 1000  # wrong things, of which not even the first is looked for: all would be written out
_TOLD = 500  # characters of what is wrong
# Lists and objects of a file: so few may be anywhere, and others are so many bytes apart.
_FEW, _BETWEEN = 200_000, 32
_QUOTES_BETWEEN = 4  # and quotation marks, of which two make a string
Model = TypeVar("Model", bound=BaseModel)
AnyRecord = Record | FrontierRecord | CalibrationRecord | LearningRecord


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
        """The file as a record of schema ``newest`` or older, with whatever figures it holds.

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
            record = model.model_validate(self.document)
        except ValidationError as error:
            problem = f"{self.path} is not a valid record: {first_problem(error)}"
            raise RecordError(problem, self.again) from error
        # The digest is that of a file; what is in memory may be changed.
        return record.model_copy(update={FIELD: ""})


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
        data = read_at_most(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise RecordError(f"there is no result file {path}", again) from error
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror or error}"
        raise RecordError(problem, "name a result file such as DIR/audit-small.json") from error
    except ValueError as error:  # a path with a zero byte in it
        raise RecordError(f"cannot read {path}: {error}", "name a result file") from error
    if data is None:
        raise RecordError(f"{path} is larger than any record", "name a result file of ffprof run")
    return data


def _parsed(path: Path, data: bytes, again: str) -> Any:
    if foreign := foreign_content(data):
        what, fix = foreign
        raise RecordError(f"{path} {what}", fix if data.strip() else again)
    # Each takes twenty times its two bytes, so a small file could fill the memory.
    if data.count(b"[") + data.count(b"{") > _FEW + len(data) // _BETWEEN:
        raise RecordError(f"{path} is not JSON, or has more lists than any record", again)
    if data.count(b'"') > _FEW + len(data) // _QUOTES_BETWEEN:
        raise RecordError(f"{path} is not JSON, or has more strings than any record", again)
    try:
        return from_json(data)
    except ValueError as error:
        raise RecordError(f"{path} is not JSON ({error})", again) from error


AGAIN = "make one with `ffprof run --out DIR`"


def load(path: str | Path) -> Record:
    """Read and validate a result file.

    Raises:
        ForeignFileError: a result of another kind, or JSON of something else.
        RecordError: absent, not a file, too large, not JSON, of a newer schema, or not a record.
    """
    return _plausible(_record_in(read_contents(Path(path), AGAIN)))


def _plausible(record: Model) -> Model:
    return cast("Model", plausible(cast("AnyRecord", record)))


def _record_in(contents: Contents) -> Record:
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


def find_record(
    path: Path,
    patterns: tuple[str, ...] = ("audit-*.json",),
    absent: tuple[str, str] = ("result file", "run ffprof run --out DIR first"),
) -> Path:
    """The file itself, or the newest result file in a folder; ``patterns`` are of their names.

    ``absent`` is what an error says is not there, and what to do.

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
        raise RecordError(f"there is no {absent[0]} in {path}", absent[1])
    return files[0]


def newest_first(folder: Path, patterns: tuple[str, ...] = ("audit-*.json",)) -> list[Path]:
    """The result files of a folder, unread.

    Raises:
        OSError: one is gone by now, or cannot be looked at.
    """
    files = [file for pattern in patterns for file in folder.glob(pattern)]
    return sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)


def load_folder(folder: Path) -> tuple[list[Reading], list[str]]:
    """All result files of a folder and of the folders in it, and what is wrong with each other one.

    JSON of something else is passed over without a word.

    Raises:
        RecordError: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise RecordError(f"there is no folder {str(folder)[:200]}", "name one with result files")
    found, problems = [], []
    try:
        paths = sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
    except OSError as error:
        raise RecordError(
            f"cannot read {str(folder)[:200]}: {error.strerror or error}", "name another folder"
        ) from error
    for path in paths:
        try:
            found.append(read_any(path))
        except ForeignFileError:
            continue
        except RecordError as error:
            problems.append(error.problem)
    return found, problems


def save(record: AnyRecord, path: Path, *, elsewhere: bool = True) -> None:
    """Write a record atomically with the digest of what it holds, or ``elsewhere`` if need be.

    Raises:
        StoreError: the file would be too large to be read, or the folder cannot be written to. The
            record is then in another folder, which it names, if any takes it.
    """
    text = text_of(record)
    if len(text) > MOST_BYTES or (not text.isascii() and len(text.encode()) > MOST_BYTES):
        raise StoreError(
            f"{path} would be larger than the {MOST_BYTES // 2**20} MiB that are read again",
            "what was saved before is there; measure the rest into another file",
        )
    try:
        write_atomically(path, text)
    except StoreError as error:
        kept = write_elsewhere(path, text) if elsewhere else None
        if kept is None:
            raise
        raise StoreError(error.problem, f"what was done is kept in {kept}") from error


def text_of(record: AnyRecord, digest: str | None = None) -> str:
    """What is written of a record: secrets and what is no character are left out of its words.

    ``digest`` is that of the file that it was read from; by default it is made of what it holds.
    """
    update: dict[str, Any] = {
        "command": recorded(record.command),
        "notes": tuple(map(recorded, record.notes[-MOST_NOTES:])),
        FIELD: "",
    }
    recipe = record.recipe
    if recipe.data_root:  # no part of the recipe's own digest
        update["recipe"] = recipe.model_copy(update={"data_root": recorded(recipe.data_root)})
    if isinstance(record, Record | LearningRecord):
        files = tuple(
            one.model_copy(update={"path": recorded(one.path)}) for one in record.plan.files
        )
        update["plan"] = record.plan.model_copy(update={"files": files})
    text = record.model_copy(update=update).model_dump_json(indent=1)
    # Of the file's own fields it alone begins a line like this: in strings there are no new lines.
    empty = f'\n "{FIELD}": ""'
    digest = digest_of(from_json(text)) if digest is None else digest
    filled = f'\n "{FIELD}": {json.dumps(digest)}'
    return text.replace(empty, filled, 1) + "\n"


def same_content(one: AnyRecord, other: AnyRecord) -> bool:
    """Whether two records are one result: what would be written of them, and so its digest."""
    return one is other or text_of(one) == text_of(other)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a record."""
    return Record.model_json_schema(mode="serialization")


def json_schema_text() -> str:
    """The JSON Schema as it lies in docs/record.schema.json."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


# Names of result files of every kind; a folder stands for the newest.
RESULT_FILES = (
    "audit-*.json",
    "frontier-*.json",
    "capacity-*.json",
    "calibration-*.json",
    "learning-*.json",
)
_KINDS = ("frontier", "capacity")
_LEARN = "make one with `ffprof learn --out DIR`"
_CALIBRATE = "make one with `ffprof calibrate --out DIR`"


def load_frontier(path: str | Path) -> FrontierRecord:
    """Read and validate the file of a frontier or of a search for the largest size.

    Raises:
        RecordError: absent, not a file, too large, not JSON, of a newer schema, or something else.
    """
    again = "make one with `ffprof frontier --out DIR`"
    return _plausible(_frontier_in(read_contents(Path(path), again)))


def load_learning(path: str | Path) -> LearningRecord:
    """Read and validate the file of a learning study.

    Raises:
        RecordError: absent, not a file, too large, not JSON, of a newer schema, or something else.
    """
    contents = read_contents(Path(path), _LEARN)
    if contents.kind != "learning":
        raise RecordError(f"{contents.path} holds no learning study", contents.again)
    return _plausible(contents.as_record(LearningRecord, LEARNING_VERSION))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A result file as it was read: its record, its digest, and whether that belongs to it.

    ``impossible`` is what the file states and the record does not, because it cannot be.
    """

    path: Path
    record: AnyRecord
    digest: str
    belonging: Belonging
    impossible: tuple[str, ...] = ()


def load_any(path: str | Path) -> AnyRecord:
    """Read and validate a result file of any kind.

    Raises:
        RecordError: absent, not a file, too large, not JSON, of a newer schema, or not a record.
    """
    return read_any(path).record


def read_any(path: str | Path) -> Reading:
    """Read and validate a result file of any kind, and hold its digest against it.

    Raises:
        RecordError: absent, not a file, too large, not JSON, of a newer schema, or not a record.
    """
    contents = read_contents(Path(path), AGAIN)
    stated = _record_of_any(contents)
    record = plausible(stated)
    known = set(impossible(stated))
    return Reading(
        path=contents.path,
        record=record,
        impossible=tuple(line for line in impossible(record) if line not in known),
        digest=str(contents.document.get(FIELD, "")),
        belonging=belonging(contents.document),
    )


def _record_of_any(contents: Contents) -> AnyRecord:
    if contents.kind == "calibration":
        contents = replace(contents, again=_CALIBRATE)
        return contents.as_record(CalibrationRecord, CALIBRATION_VERSION)
    if contents.kind == "learning":
        contents = replace(contents, again=_LEARN)
        return contents.as_record(LearningRecord, LEARNING_VERSION)
    return _record_in(contents) if contents.kind is None else _frontier_in(contents)


def _frontier_in(contents: Contents) -> FrontierRecord:
    if contents.kind not in _KINDS:
        raise RecordError(
            f"{contents.path} holds neither a frontier nor a search for the largest size",
            "ffprof report prints every result file" if contents.kind is None else contents.again,
        )
    record = contents.as_record(FrontierRecord, FRONTIER_VERSION)
    if not record.points and not record.capacities:
        raise RecordError(f"{contents.path} is a {record.kind} with nothing in it", contents.again)
    return record
