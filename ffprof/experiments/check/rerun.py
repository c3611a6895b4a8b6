"""What a baseline holds, measured or estimated again with the code and on the machine of now.

The code of its rows may have changed: that is the point.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from multiprocessing.context import BaseContext
from pathlib import Path

from ffprof.errors import UsageError
from ffprof.estimator.overhead import remember
from ffprof.experiments.audit.plan import Audit, new_request, with_known_noise
from ffprof.experiments.audit.provenance import found_again, look_again
from ffprof.experiments.audit.runner import run_audit
from ffprof.experiments.campaign import Progress
from ffprof.experiments.options import check_seconds
from ffprof.experiments.request import Request
from ffprof.experiments.selection import check_recipe, describe_files, read_sources
from ffprof.experiments.session import open_session
from ffprof.experiments.terms import device_again, need_device, terms_again
from ffprof.hardware.machine import too_few_processors
from ffprof.harness.data.discovery import check_data, crowding
from ffprof.harness.process.folder import temporary_folder
from ffprof.harness.process.guard import Policy
from ffprof.nulldevice import is_in_use
from ffprof.records.audit import Plan, Record, WorkloadFile
from ffprof.records.files import prepare_folder, writing
from ffprof.records.recipe import Recipe
from ffprof.workload import Description, find_workload, workload_names
from ffprof.workload.step import StepDescription
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
    """Describe the baseline's rows again; rows that it does not have are left out.

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
        steps = tuple(name for name in inside if isinstance(own[name], StepDescription))
        files.append(
            WorkloadFile(path=source.name, sha256=source.sha256, workloads=inside, steps=steps)
        )
    if not found:
        raise UsageError(
            f"none of the rows of {path} is known here: {', '.join(plan.workloads)[:500]}",
            "install the package that registers them, or name their file with --workload-file",
        )
    gone = tuple(name for name in plan.workloads if name not in found)
    return RowsNow(workloads=tuple(found.values()), files=tuple(files), gone=gone)


@contextmanager
def _prepared(
    baseline: Record,
    path: Path,
    out: Path,
    plan: Plan,
    workload_files: Sequence[Path],
    card_files: Sequence[Path],
    data: str | None,
    on_foreign: Policy,
) -> Iterator[Request]:
    recipe, device = baseline.recipe, device_again(baseline)
    estimated = baseline.evidence == "estimated"
    sources = present_sources(baseline, path, workload_files)
    seen = look_again(baseline, path, {} if data is None else {"data": data})
    if not estimated:
        _need_processors(recipe, path)  # an estimate computes nothing, so it may name more
    with open_session(recipe, begun=baseline.machine) as session:
        need_device(baseline, path, session.found)
        terms = terms_again(baseline, path, session, card_files)
        rows = rows_now(baseline, path, sources, session.server)
        recipe, _ = found_again(
            baseline, path, seen, session.server, download=False, dry_run=estimated
        )
        check_recipe(recipe, rows.workloads)
        check_data(recipe, None)
        plan = plan.model_copy(
            update={
                "workloads": tuple(one.id for one in rows.workloads),
                "families": {one.id: one.family for one in rows.workloads},
                "rounds": 1 if estimated else plan.rounds,
                "files": rows.files,
            }
        )
        notes = (
            f"repeats {path.name} of {baseline.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            *terms.notes,
            "" if estimated else crowding(recipe, device),
            "" if estimated or is_in_use() else session.crowd,
            f"removed since: {', '.join(rows.gone)}"[:1000] if rows.gone else "",
        )
        audit = Audit(
            recipe=recipe, plan=plan, workloads=rows.workloads, device=device, terms=terms
        )
        yield with_known_noise(new_request(audit, session, out, notes, on_foreign))


def _need_processors(recipe: Recipe, path: Path) -> None:
    present = too_few_processors(recipe)
    if present:
        plural = "" if present == 1 else "s"
        raise UsageError(
            f"{path} was measured with {recipe.threads} threads, and this machine has {present} "
            f"processor{plural}",
            "make a baseline here, or use an estimated one",
        )


def run_again(
    baseline: Record,
    baseline_path: Path,
    out: Path | None = None,
    *,
    rounds: int | None = None,
    time_limit: float | None = None,
    run_limit: float | None = None,
    workload_files: Sequence[Path] = (),
    card_files: Sequence[Path] = (),
    data: str | None = None,
    on_foreign: Policy = "warn",
    progress: Progress,
    say: Callable[[str], None],
) -> Record:
    """Make the audit of a baseline again and return its record.

    Recipe, rows, budget and kind of evidence are the baseline's. What registers the rows and what
    is in workload files is read as it is now. Rows that are gone are left out and noted; whether
    any trial gave a number is for the caller to see.

    Args:
        baseline: the record.
        baseline_path: its file, for messages.
        out: the folder of the new result file; None keeps none.
        rounds: instead of the baseline's; an estimate has one.
        time_limit: seconds of a trial, instead of the baseline's.
        run_limit: seconds of all; what is done by then is returned. Without, there is none.
        workload_files: instead of those that the baseline names.
        card_files: profiles of the user's own, for a baseline on such a card.
        data: what ``--data`` means, where the baseline's images lie elsewhere now.
        on_foreign: what to do about processes of others on the GPU.
        progress: told of what happens.
        say: told of what the user should know.

    Raises:
        DeviceError: the baseline was measured on a GPU, and there is none of its kind.
        UsageError: its rows or its card are not known here, or this machine has fewer processors
            than it measured with.
        DataError: its images are gone, or are others.
        StoreError: the result cannot be written.
        KeyboardInterrupt: as it came, after what is done was stored.
    """
    for name, seconds in (("time_limit", time_limit), ("run_limit", run_limit)):
        if seconds is not None:
            check_seconds(name, seconds)
    changes = {"rounds": rounds, "trial_limit_seconds": time_limit}
    plan = baseline.plan.model_copy(
        update={name: value for name, value in changes.items() if value is not None}
        | {"run_limit_seconds": run_limit}
    )
    with _folder(out) as folder:
        request_for = _prepared(
            baseline, baseline_path, folder, plan, workload_files, card_files, data, on_foreign
        )
        with request_for as request, writing(request.path):
            return _run(request, progress, say, kept=out is not None)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        prepare_folder(out)
        yield out
        return
    with temporary_folder() as folder:
        yield folder


def _run(request: Request, progress: Progress, say: Callable[[str], None], *, kept: bool) -> Record:
    outcome = run_audit(request, progress)
    record = outcome.record
    if request.device == "cuda" and request.target is None and (problem := remember(record)):
        say(problem)
    if kept and (record.trials or record.ledger):
        say(f"written to {request.path}")
    if outcome.stopped:
        say(f"stopped early: {outcome.stopped}; missing trials: {len(record.missing())}")
        if kept and record.trials and request.target is None:
            say(f"resume with: ffprof run --resume {shlex.quote(str(request.path))}")
    if outcome.interrupt is not None:
        raise outcome.interrupt
    return record
