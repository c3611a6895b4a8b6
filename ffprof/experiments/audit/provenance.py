"""What a record only names and going on with it needs again: its workloads, files and data.

A workload file is known by the digest of what it held, data by its fingerprint. Where they lie is
no part of the audit: in addition to ``--resume``, ``--workload-file`` and ``--data`` may name the
same content at another place, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, NoReturn

from ffprof.errors import DataError, UsageError
from ffprof.experiments.selection import (
    change_recipe,
    describe_files,
    read_sources,
)
from ffprof.harness.data.discovery import check_data, complete, look_at
from ffprof.harness.data.source import DataSet, DataWords, parse_data
from ffprof.harness.process.streams import say
from ffprof.records.audit import Record, WorkloadFile
from ffprof.records.learning import LearningRecord
from ffprof.records.recipe import FILE_DATA, Recipe
from ffprof.workload import Description, find_workload
from ffprof.workload.user_file import Source

AnyPlanned = Record | LearningRecord
_NEW = "leave it out, or start a new audit without --resume"


def refuse(option: str, value: object, path: Path, recorded: object) -> NoReturn:
    """Say that an option is not what the record has.

    Raises:
        UsageError: always.
    """
    raise UsageError(f"{option} {value} contradicts {path} ({recorded})", _NEW)


_SHOWN = 12  # digits of a digest, as in notes


def recorded_sources(
    record: AnyPlanned, path: Path, given: Mapping[str, Any]
) -> tuple[Source, ...]:
    """The record's workload files, where they are now.

    Raises:
        UsageError: one is gone or holds something else, or others are given.
    """
    files = record.plan.files
    if not given.get("workload_file"):
        return tuple(_at_its_place(file, path) for file in files)
    named = read_sources(given["workload_file"])
    for source in named:
        for file in files:
            same_place = file.path.isprintable() and source.path == str(Path(file.path).resolve())
            if same_place and source.sha256 != file.sha256:
                _other_content(source, file, path)
    found = {source.sha256: source for source in named}
    if found.keys() != {file.sha256 for file in files}:
        begun = ", ".join(file.path for file in files) or "no workload file"
        refuse("--workload-file", ", ".join(source.name for source in named), path, begun)
    return tuple(found[file.sha256] for file in files)


def _at_its_place(file: WorkloadFile, path: Path) -> Source:
    try:
        (source,) = read_sources([Path(file.path)])
    except UsageError as error:
        raise UsageError(
            f"{error.problem}, which {path} was started with (sha256 {file.sha256[:_SHOWN]})",
            "put it back, resume in the folder that the audit was started in, or name it with "
            "--workload-file",
        ) from error
    if source.sha256 != file.sha256:
        _other_content(source, file, path)
    return source


def _other_content(source: Source, file: WorkloadFile, path: Path) -> None:
    raise UsageError(
        f"{source.name} is not what {path} was started with: its sha256 is "
        f"{source.sha256[:_SHOWN]} and was {file.sha256[:_SHOWN]}",
        "put the file back as it was, or start a new audit without --resume",
    )


def registered_rows(record: AnyPlanned) -> dict[str, Description]:
    """The record's workloads that are registered, by id.

    Raises:
        UsageError: one is gone, or is another one than then.
    """
    inside = {name for file in record.plan.files for name in file.workloads}
    rows = {name: find_workload(name) for name in record.plan.workloads if name not in inside}
    _check_same(record, rows, "resume with the package as it was")
    return rows


def file_rows(
    record: AnyPlanned, sources: Sequence[Source], context: BaseContext
) -> dict[str, Description]:
    """The record's workloads that are in files, described in children, by id.

    Raises:
        UsageError: one is gone, or is another one than then: what its file imports has changed.
    """
    limit = record.plan.trial_limit_seconds
    own = describe_files(sources, context, limit) if sources else {}
    rows: dict[str, Description] = {}
    for file, source in zip(record.plan.files, sources, strict=True):
        for name in file.workloads:
            if name not in own or own[name].source != source:
                raise UsageError(
                    f"{source.name} has no workload {name!r} any more",
                    "put back what it imports, and its own name, as they were",
                )
            rows[name] = own[name]
    _check_same(record, rows, "put back what its file imports as it was")
    return rows


def _check_same(record: AnyPlanned, rows: Mapping[str, Description], fix: str) -> None:
    for one in rows.values():
        known = {
            (t.method, t.schedule, t.family, t.micro_batch)
            for t in record.trials
            if t.workload == one.id
        }
        now = (one.method, one.schedule, one.family, one.micro_batch(record.recipe))
        if record.plan.families.get(one.id, one.family) != one.family or known - {now}:
            raise UsageError(
                f"workload {one.id!r} is described differently than when the audit was started",
                f"{fix}, or start a new audit without --resume",
            )


def look_again(record: AnyPlanned, path: Path, given: Mapping[str, Any]) -> DataSet | None:
    """What can be seen of the record's data before a process is started; None without files.

    Raises:
        DataError: it is gone, unusable, or other data.
    """
    recipe, download = record.recipe, bool(given.get("download"))
    if recipe.data not in FILE_DATA:
        return None
    words = DataWords(kind=recipe.data, root=recipe.data_root)
    if "data" in given:
        words = parse_data(given["data"])
    if not download and not Path(words.root).is_dir():
        raise DataError(
            f"the data of {path} is not in {words.root}", f"put it back, or {_elsewhere(recipe)}"
        )
    try:
        seen = look_at(words, download)
    except DataError as error:
        raise _with_advice(error, recipe) from error
    if seen is not None and seen.fingerprint:
        _check_fingerprint(seen, recipe, path)
    return seen


def found_again(
    record: AnyPlanned,
    path: Path,
    seen: DataSet | None,
    context: BaseContext,
    *,
    download: bool,
    dry_run: bool,
) -> tuple[Recipe, list[str]]:
    """The record's recipe with the data's present place, and notes on it.

    Raises:
        DataError: the data is damaged, or other data.
        UsageError: this machine cannot hold the batches that workers make ahead.
    """
    recipe = record.recipe
    if seen is None:
        return recipe, []
    try:
        found = complete(seen, context, download, say, look_only=dry_run)
    except DataError as error:
        raise _with_advice(error, recipe) from error
    _check_fingerprint(found, recipe, path)
    check_data(recipe, found)
    if found.root == recipe.data_root:
        return recipe, []
    moved = change_recipe(recipe, {"data_root": found.root})
    return moved, [f"since it was resumed, data is read from {found.root}"]


def _check_fingerprint(found: DataSet, recipe: Recipe, path: Path) -> None:
    if found.fingerprint != recipe.data_fingerprint:
        raise DataError(
            f"{found.root} holds other data than {path} was started with: its fingerprint is "
            f"{found.fingerprint[:_SHOWN]} and was {recipe.data_fingerprint[:_SHOWN]}",
            f"put the data back as it was, or {_elsewhere(recipe)}",
        )


def _with_advice(error: DataError, recipe: Recipe) -> DataError:
    return DataError(error.problem, f"{error.fix}, or {_elsewhere(recipe)}")


def _elsewhere(recipe: Recipe) -> str:
    return f"name the folder that has the same data now with --data {recipe.data}:DIR"
