"""``--workload-file``: read the files, have them described in child processes, and check ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from pathlib import Path

from ffprof.cli.choose import choose_workloads
from ffprof.errors import UsageError
from ffprof.harness.process.child import run_child
from ffprof.harness.process.messages import Failed
from ffprof.harness.worker import describe_child
from ffprof.records.audit import WorkloadFile
from ffprof.records.recipe import Recipe
from ffprof.workload import Description, workload_names
from ffprof.workload.user_file import FIRST_RANK, FileDescription, Source, StepDescription

LOAD_LIMIT_SECONDS = 120.0
MAX_BYTES = 16 * 1024 * 1024  # larger than any source file


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The rows of an audit in which files take part, and what the record says of the files."""

    workloads: tuple[Description, ...]
    files: tuple[WorkloadFile, ...]

    def notes(self, recipe: Recipe) -> tuple[str, ...]:
        """What a reader must know about these rows."""
        told = [
            f"{', '.join(file.workloads)}: from {file.path}, sha256 {file.sha256[:12]}"
            for file in self.files
        ]
        told += [
            f"{one.id}: the images of its step are not declared; the recipe's batch of "
            f"{one.micro_batch(recipe)} is assumed"
            for one in self.workloads
            if isinstance(one, StepDescription) and one.images is None
        ]
        return tuple(told)


def read_sources(paths: Sequence[Path]) -> tuple[Source, ...]:
    """Each file once, with the digest of what it holds.

    Raises:
        UsageError: it cannot be read.
    """
    found: dict[str, Source] = {}
    for path in paths:
        name, fix = str(path), "name a Python file with --workload-file"
        if not name.isprintable() or len(name) > 1000:
            raise UsageError(f"the name {name!r} of a workload file cannot be printed", fix)
        try:
            if path.exists() and not path.is_file():
                raise UsageError(f"{name} is not a file", fix)
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            whole = str(path.resolve())
        except FileNotFoundError as error:
            raise UsageError(f"there is no workload file {name}", fix) from error
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror or error}", fix) from error
        if len(content) > MAX_BYTES:
            raise UsageError(f"{name} is larger than any Python file", fix)
        digest = hashlib.sha256(content).hexdigest()
        found.setdefault(whole, Source(name=name, path=whole, sha256=digest))
    return tuple(found.values())


def choose_with_files(
    words: str | None, sources: Sequence[Source], context: BaseContext, limit_seconds: float
) -> Chosen:
    """The rows that were asked for; by default core, and everything in the files.

    Raises:
        UsageError: a file cannot be loaded, an id is taken or unknown, or nothing of a file is
            asked for.
    """
    own = describe_files(sources, context, limit_seconds)
    workloads = choose_workloads("core" if words is None else words, own, every=words is None)
    ids = {d.id for d in workloads}
    for source in sources:
        inside = [d.id for d in own.values() if d.source == source]
        if not ids & set(inside):
            raise UsageError(
                f"--workloads {words} asks for nothing in {source.name}",
                f"add one of {', '.join(inside)}, or leave the file out",
            )
    files = tuple(
        WorkloadFile(
            path=source.name,
            sha256=source.sha256,
            workloads=tuple(d.id for d in own.values() if d.source == source and d.id in ids),
        )
        for source in sources
    )
    return Chosen(workloads=workloads, files=files)


def describe_files(
    sources: Sequence[Source], context: BaseContext, limit_seconds: float
) -> dict[str, FileDescription]:
    """Everything in the files by id, ranked in the order of files, each in its own order.

    Raises:
        UsageError: a file cannot be loaded, an id is taken, or a reference is unknown.
    """
    registered = set(workload_names())
    own: dict[str, FileDescription] = {}
    for source in sources:
        for one in _described(source, context, min(limit_seconds, LOAD_LIMIT_SECONDS)):
            if one.id in registered:
                raise UsageError(
                    f"{source.name}: the id {one.id!r} is that of a registered workload",
                    "give it another id",
                )
            if one.id in own:
                raise UsageError(
                    f"the id {one.id!r} is in {own[one.id].source.name} and in {source.name}",
                    "give one of them another id",
                )
            if one.reference and one.sibling is None and one.reference not in registered | {one.id}:
                raise UsageError(
                    f"{source.name}: the reference {one.reference!r} of {one.id!r} is not known",
                    "name a workload of the same file, or one of ffprof workloads",
                )
            own[one.id] = replace(one, rank=FIRST_RANK + len(own))
    return own


def _described(
    source: Source, context: BaseContext, limit_seconds: float
) -> tuple[FileDescription, ...]:
    ending = run_child(context, describe_child, (source,), limit_seconds)
    for message in ending.messages:
        if isinstance(message, tuple):
            return message
        if isinstance(message, Failed):
            raise UsageError(message.message, "")
    if ending.kind == "timeout":
        raise UsageError(
            f"{source.name} is still being loaded after {limit_seconds:g} s",
            "leave training to the functions and methods that it defines",
        )
    raise UsageError(
        f"{source.name} ends the process that loads it"
        + (f" ({ending.reason})" if ending.reason else ""),
        "let it define its workloads and nothing more",
    )
