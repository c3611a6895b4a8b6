"""The rows of a baseline as the code has them now: it may have changed, that is the point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path

from ffprof.cli.own_files import describe_files, read_sources
from ffprof.errors import UsageError
from ffprof.records.audit import Record, WorkloadFile
from ffprof.workload import Description, find_workload, workload_names
from ffprof.workload.user_file import Source


@dataclass(frozen=True, kw_only=True)
class RowsNow:
    """What there is of a baseline's rows, in its order; the files of some; which are ``gone``."""

    workloads: tuple[Description, ...]
    files: tuple[WorkloadFile, ...]
    gone: tuple[str, ...]


def present_sources(baseline: Record, path: Path, named: Sequence[Path]) -> tuple[Source, ...]:
    """The workload files as they are now: those ``named``, else those that the baseline names.

    They are executed, so what only the baseline names must be inside the current folder.

    Raises:
        UsageError: one cannot be read, or lies elsewhere and was not named.
    """
    if named:
        return read_sources(named)
    for file in baseline.plan.files:
        where = Path(file.path)
        if where.is_absolute() or ".." in where.parts:
            raise UsageError(
                f"{path} has rows of {file.path[:500]}, which is not below the current folder and "
                "would be executed",
                "if you trust it, name it with --workload-file",
            )
    try:
        return read_sources([Path(file.path) for file in baseline.plan.files])
    except UsageError as error:
        raise UsageError(
            f"{path} has rows of a workload file: {error.problem}",
            "put it back, run in the folder that the baseline was made in, or name the file with "
            "--workload-file",
        ) from error


def rows_now(
    baseline: Record, path: Path, sources: Sequence[Source], context: BaseContext
) -> RowsNow:
    """Describe the baseline's rows anew; rows that it does not have are left out.

    Args:
        baseline: the record.
        path: its file, for messages.
        sources: from ``present_sources``; they are loaded in children.
        context: starts the children.

    Raises:
        UsageError: no row is left, a file has none of them or cannot be loaded, or a registered
            workload is broken.
    """
    plan = baseline.plan
    own = describe_files(sources, context, plan.trial_limit_seconds) if sources else {}
    registered = set(workload_names())
    found: dict[str, Description] = {}
    for name in plan.workloads:
        if name in own:
            found[name] = own[name]
        elif name in registered:
            found[name] = find_workload(name)
    files = []
    for source in sources:
        inside = tuple(n for n, one in own.items() if one.source == source and n in found)
        if not inside:
            raise UsageError(
                f"{source.name} has none of the rows of {path}",
                "name the file that has them with --workload-file, or make a new baseline",
            )
        files.append(WorkloadFile(path=source.name, sha256=source.sha256, workloads=inside))
    if not found:
        raise UsageError(
            f"none of the rows of {path} is known here: {', '.join(plan.workloads)[:500]}",
            "install the package that registers them, or name their file with --workload-file",
        )
    gone = tuple(name for name in plan.workloads if name not in found)
    return RowsNow(workloads=tuple(found.values()), files=tuple(files), gone=gone)
