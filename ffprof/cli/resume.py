"""``ffprof run --resume``: go on with an unfinished audit, exactly as it was begun.

Everything comes from the record. An option that was given must say the same as the record, but
for ``--rounds``, which may be raised, and the two time limits, which may be changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ffprof.analysis.verdicts import judge
from ffprof.audit.request import Request
from ffprof.cli.choose import check_rounds
from ffprof.cli.contradictions import MAY_CHANGE, check_budget, check_options
from ffprof.cli.recorded import (
    file_rows,
    found_again,
    look_again,
    recorded_sources,
    registered_rows,
)
from ffprof.cli.starting import started, trial_context
from ffprof.errors import DeviceError, RecordError, UsageError
from ffprof.hardware.environment import child_environment
from ffprof.hardware.machine import check_threads, compare_machines, describe_machine
from ffprof.records.audit import Device, Machine, Plan, Record
from ffprof.records.files import writing
from ffprof.records.store import find_record, load, newest_first
from ffprof.workload import Description
from ffprof.workload.user_file import Source


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
        FfprofError: the audit cannot be gone on with here, or not like this.
    """
    path = find_unfinished(file, given.get("rounds"))
    load(path)  # before a lock is made beside what is no record
    with nullcontext() if dry_run else writing(path):
        record = load(path)  # again: it may have been written until the lock was ours
        device = device_of(record, path)
        check_options(record, path, device, given)
        done = len(record.trials)
        before, record = record, record.model_copy(update={"plan": _plan(record, given)})
        if not record.missing():
            if "workload_file" in given:
                recorded_sources(record, path, given)
            yield (_request(record, (), device, path, None),)
            return
        sources = recorded_sources(record, path, given)
        rows = registered_rows(record)
        seen = look_again(record, path, given)
        with started(record.recipe, dry_run=dry_run) as (server, found):
            if device == "cuda" and not found.cuda:
                raise DeviceError(
                    f"{path} was begun on CUDA: {found.reason}", "go on where it was begun"
                )
            check_budget(record, device, found.gpu_total_bytes or 0, given)
            here = describe_machine(found, child_environment(record.recipe))
            notes = no_other_machine(record.machine, here, device, path)
            check_threads(record.recipe)
            rows |= file_rows(record, sources, server)
            workloads = tuple(rows[name] for name in record.plan.workloads)
            recipe, moved = found_again(
                record, path, seen, server, download="download" in given, dry_run=dry_run
            )
            notes += [*_moved_files(record, sources), *moved]
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
            request = _request(record, workloads, device, path, trial_context(server, device))
            yield (replace(request, on_foreign=given.get("on_foreign", "warn")),)


def _request(
    record: Record, workloads: tuple[Description, ...], device: Device, path: Path, context: Any
) -> Request:
    return Request(
        record=record,
        workloads=workloads,
        device=device,
        path=path,
        context=context or get_context("spawn"),
        judge=judge,
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


def _plan(record: Record, given: Mapping[str, Any]) -> Plan:
    names = {
        "rounds": "rounds",
        "time_limit": "trial_limit_seconds",
        "run_limit": "run_limit_seconds",
    }
    changes = {names[name]: given[name] for name in MAY_CHANGE if name in given}
    check_rounds(changes.get("rounds", record.plan.rounds), len(record.plan.workloads))
    return record.plan.model_copy(update=changes)


def no_other_machine(begun: Machine, here: Machine, device: Device, path: Path) -> list[str]:
    """Notes on what differs a little from the machine of a record.

    Raises:
        UsageError: something that decides figures differs.
    """
    found = compare_machines(begun, here, device)
    differing = [*found.hardware, *found.software]
    if differing:
        where = "on its machine" if found.hardware else "with what it was begun with"
        raise UsageError(
            f"{path} cannot be gone on with here: {'; '.join(differing)}",
            f"continue {where}, or start a new audit without --resume",
        )
    return [f"on resuming: {words}" for words in found.noted]
