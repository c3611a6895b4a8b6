"""``ffprof run --resume``: continue an unfinished audit, exactly as it was begun.

Everything comes from the record. Beside it only limits may be given (``--rounds`` may be raised),
and where files and data lie now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ffprof.analysis.contradictions import note_on
from ffprof.errors import DeviceError, RecordError, UsageError
from ffprof.experiments.audit.provenance import (
    file_rows,
    found_again,
    look_again,
    recorded_sources,
    refuse,
    registered_rows,
)
from ffprof.experiments.request import Request
from ffprof.experiments.selection import check_rounds
from ffprof.experiments.session import Session, open_session
from ffprof.hardware.machine import check_threads, compare_machines
from ffprof.harness.data.catalogue import DOWNLOADABLE
from ffprof.harness.data.source import parse_data
from ffprof.records.audit import Device, Machine, Plan, Record
from ffprof.records.files import writing
from ffprof.records.recipe import Recipe
from ffprof.records.store import find_record, load, newest_first, read_any
from ffprof.workload.user_file import Source

# What may be given in addition to ``--resume``: limits, and where files lie now.
LIMITS = ("rounds", "time_limit", "run_limit", "on_foreign")
PLACES = ("workload_file", "data", "download")


def check_options(given: Iterable[str], allowed: tuple[str, ...], kind: str) -> None:
    """Refuse every option that the record has the answer to.

    Raises:
        UsageError: the first one, by name.
    """
    for name in given:
        if name not in allowed:
            raise UsageError(
                f"--{name.replace('_', '-')} cannot be given with --resume: "
                "the result file fixes it",
                f"leave it out, or start a new {kind} without --resume",
            )


def _check_places(record: Record, path: Path, given: Mapping[str, Any]) -> None:
    recipe = record.recipe
    if "data" in given and parse_data(given["data"]).kind != recipe.data:
        recorded = f"{recipe.data} {recipe.data_root}".strip()
        refuse("--data", given["data"], path, recorded)
    if "download" in given and recipe.data not in DOWNLOADABLE:
        raise UsageError(
            f"--download: there is nothing to download for {path} ({recipe.data})",
            "leave it out",
        )


def find_unfinished(path: Path, rounds: int | None = None) -> Path:
    """The file itself; of a folder, the newest record that lacks trials, else the newest.

    ``rounds`` is how many the audit is to have at least. Files that cannot be read are passed
    over if another one can.

    Raises:
        RecordError: there is none, or none that can be read.
    """
    newest = find_record(path)
    if newest == path:
        return path
    readable: list[Path] = []
    for file in newest_first(path):
        try:
            record = load(file)
        except RecordError:
            continue
        if record.evidence == "estimated":
            continue
        readable.append(file)
        if record.missing():
            return file
    if rounds is not None:
        return next((f for f in readable if load(f).plan.rounds < rounds), newest)
    return readable[0] if readable else newest


@contextmanager
def resumed(
    file: Path, given: Mapping[str, Any], *, dry_run: bool = False
) -> Iterator[tuple[Request, ...]]:
    """A request for what is missing; with nothing missing, one that starts no process.

    Args:
        file: a result file, or a folder of them.
        given: the options that were given, by the name of their parameter.
        dry_run: nothing will be written, so nothing is locked.

    Raises:
        FfprofError: the audit cannot be resumed here, or not like this.
    """
    check_options(given, (*LIMITS, *PLACES), "audit")
    path = find_unfinished(file, given.get("rounds"))
    load(path)  # before a lock is made for what is no record
    with nullcontext() if dry_run else writing(path):
        reading = read_any(path)  # again: it may have been written until the lock was ours
        record = load(path)
        device = device_of(record, path)
        _check_places(record, path, given)
        done = len(record.trials)
        before, record = record, record.model_copy(update={"plan": _plan(record, path, given)})
        if not record.missing():
            if "workload_file" in given:
                recorded_sources(record, path, given)
            spawn = get_context("spawn")
            yield (Request(record=record, workloads=(), device=device, path=path, context=spawn),)
            return
        sources = recorded_sources(record, path, given)
        rows = registered_rows(record)
        seen = look_again(record, path, given)
        with open_session(record.recipe, dry_run=dry_run, begun=record.machine) as session:
            notes = check_session(session, record.machine, record.recipe, device, path)
            rows |= file_rows(record, sources, session.server)
            workloads = tuple(rows[name] for name in record.plan.workloads)
            recipe, moved = found_again(
                record,
                path,
                seen,
                session.server,
                download="download" in given,
                dry_run=dry_run,
            )
            notes += [*_moved_files(record, sources), *moved, *note_on(reading)]
            notes += [session.crowd] if session.crowd and record.timed else []
            raised = before.plan.rounds < record.plan.rounds
            told = f"; rounds raised from {before.plan.rounds} to {record.plan.rounds}"
            notes.insert(
                0,
                f"resumed {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with {done} of "
                f"{done + len(before.missing())} trials done{told if raised else ''}",
            )
            # Verdicts are those of a stop; while trials run there are none, as in a new audit.
            record = record.model_copy(
                update={
                    "recipe": recipe,
                    "verdicts": (),
                    "notes": (*record.notes, *notes)[-200:],
                }
            )
            yield (
                Request(
                    record=record,
                    workloads=workloads,
                    device=device,
                    path=path,
                    context=session.context(device),
                    on_foreign=given.get("on_foreign", "warn"),
                ),
            )


def device_of(record: Record, path: Path) -> Device:
    """The device that a record's figures come from.

    Raises:
        UsageError: from none.
    """
    if record.evidence == "estimated":
        raise UsageError(f"{path} was estimated, not measured", "make the estimate again")
    return "cpu" if record.evidence == "measured (cpu)" else "cuda"


def _moved_files(record: Record, sources: tuple[Source, ...]) -> list[str]:
    return [
        f"since it was resumed, {file.path} is read from {source.name}"
        for file, source in zip(record.plan.files, sources, strict=True)
        if file.path != source.name
    ]


def _plan(record: Record, path: Path, given: Mapping[str, Any]) -> Plan:
    plan = record.plan
    rounds = given.get("rounds", plan.rounds)
    if rounds < plan.rounds:
        raise UsageError(
            f"--rounds {rounds} is fewer than {path} has ({plan.rounds})",
            "rounds can be added, not taken away",
        )
    check_rounds(rounds, len(plan.workloads), record.recipe)
    return plan.model_copy(
        update={
            "rounds": rounds,
            "trial_limit_seconds": given.get("time_limit", plan.trial_limit_seconds),
            "run_limit_seconds": given.get("run_limit", plan.run_limit_seconds),
        }
    )


def check_session(
    session: Session, begun: Machine, recipe: Recipe, device: Device, path: Path
) -> list[str]:
    """Notes on what differs a little from the machine that a record was begun on.

    Raises:
        DeviceError: there is no GPU, and it was begun on one.
        UsageError: something that decides figures differs.
    """
    if device == "cuda" and not session.found.cuda:
        raise DeviceError(
            f"{path} was started on CUDA: {session.found.reason}", "resume it where it was begun"
        )
    found = compare_machines(begun, session.machine(on_gpu=device == "cuda"), device)
    differing = [*found.hardware, *found.software]
    if differing:
        where = "on its machine" if found.hardware else "with what it was started with"
        raise UsageError(
            f"{path} cannot be resumed here: {'; '.join(differing)}",
            f"continue {where}, or start a new audit without --resume",
        )
    check_threads(recipe)
    return [f"on resuming: {words}" for words in found.noted]
