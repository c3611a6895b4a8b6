"""``ffprof run --resume``: go on with an unfinished audit, exactly as it was begun.

Everything comes from the record. An option that was given must say the same as the record, but
for ``--rounds``, which may be raised, and the two time limits, which may be changed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ffprof.errors import DeviceError, RecordError, UsageError
from ffprof.experiments.audit.provenance import (
    _NEW,
    file_rows,
    found_again,
    look_again,
    recorded_sources,
    refuse,
    registered_rows,
)
from ffprof.experiments.request import Request
from ffprof.experiments.selection import check_rounds, choose_workloads
from ffprof.experiments.session import started, trial_context
from ffprof.hardware.budget import budget_for, cuda_budget
from ffprof.hardware.environment import child_environment
from ffprof.hardware.machine import check_threads, compare_machines, describe_machine
from ffprof.harness.data.source import DOWNLOADABLE, parse_data
from ffprof.records.audit import Device, Machine, Plan, Record
from ffprof.records.files import writing
from ffprof.records.recipe import FILE_DATA, Recipe
from ffprof.records.store import find_record, load, newest_first
from ffprof.units import parse_size
from ffprof.workload import Description, find_preset
from ffprof.workload.user_file import Source

# What no option of ``ffprof run`` changes comes from the preset alone.
_OPTIONS = (
    "backbone", "width", "norm", "image_size", "batch", "micro_batch", "precision",
    "memory_format", "data_workers", "seed", "threads", "steps",
)  # fmt: skip
MAY_CHANGE = ("rounds", "time_limit", "run_limit")
# What is left open by a preset and settled when an audit begins.
_SETTLED = ("threads", "data_workers")
_OF_THE_DATA = ("data", "data_root", "data_fingerprint", "classes")


def check_options(record: Record, path: Path, device: Device, given: Mapping[str, Any]) -> None:
    """Everything that was given must say what the record says.

    Whether files and a folder of data are the same ones is for ``provenance`` to see.

    Raises:
        UsageError: the first that does not.
    """
    recipe = record.recipe
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if name in _OPTIONS:
            idle = name == "data_workers" and recipe.data not in FILE_DATA  # as in a new audit
            if value != getattr(recipe, name) and not idle:
                refuse(option, value, path, getattr(recipe, name))
        elif name == "data":
            if parse_data(value).kind != recipe.data:
                refuse(option, value, path, f"{recipe.data} {recipe.data_root}".strip())
        elif name == "download":
            if recipe.data not in DOWNLOADABLE:
                raise UsageError(
                    f"--download: there is nothing to download for {path} ({recipe.data})",
                    "leave it out",
                )
        elif name == "preset":
            _check_preset(value, record, path)
        elif name == "workloads":
            if _ids(value, record) != set(record.plan.workloads):
                refuse(option, value, path, ",".join(record.plan.workloads))
        elif name == "device":
            if value not in ("auto", device):
                refuse(option, value, path, device)
        elif name == "out":
            if Path(value).resolve() != path.parent.resolve():
                refuse(option, value, path, f"in {path.parent}")
        elif name == "gpu_mem":
            parse_size(value)  # what it means is known once the GPU is
        elif name == "rounds":
            if value < record.plan.rounds:
                raise UsageError(
                    f"--rounds {value} is fewer than {path} has ({record.plan.rounds})",
                    "rounds can be added, not taken away",
                )
        elif name not in (*MAY_CHANGE, "workload_file", "on_foreign"):
            raise UsageError(f"{option} cannot be given with --resume", _NEW)


def _ids(words: str, record: Record) -> set[str]:
    """What ``--workloads`` asks for, with the record's own word on what is in files."""
    own = {name for file in record.plan.files for name in file.workloads}
    asked = [word.strip() for word in words.split(",")]
    others = ",".join(word for word in asked if word not in own)
    found = {d.id for d in choose_workloads(others)} if others or not own & {*asked} else set()
    return found | (own if "all" in asked else own & {*asked})


def _check_preset(name: str, record: Record, path: Path) -> None:
    """The preset must be the record's, and still say what it said then."""
    recipe = record.recipe
    if name != recipe.preset:
        refuse("--preset", name, path, recipe.preset)
    now = find_preset(name).recipe
    words = [word.split("=")[0] for word in shlex.split(record.command)]
    changed = [
        field
        for field in Recipe.model_fields
        if getattr(now, field) != getattr(recipe, field)
        and f"--{'data' if field in _OF_THE_DATA else field.replace('_', '-')}" not in words
        and not (field in _SETTLED and getattr(now, field) is None)
    ]
    if changed:
        raise UsageError(
            f"preset {name} has another {', '.join(changed)} than {path}: the recipe has changed",
            "leave --preset out to go on with the recorded recipe",
        )


def check_budget(
    record: Record, device: Device, total_bytes: int, given: Mapping[str, Any]
) -> None:
    """A budget that was given must be the record's on this GPU; on a CPU it binds nothing.

    Raises:
        UsageError: it is another one.
    """
    if "gpu_mem" not in given or device == "cpu":
        return
    asked = budget_for(given["gpu_mem"])
    budget, evidence, _ = cuda_budget(asked, total_bytes, explicit=True)
    if (budget.total_bytes, evidence) != (record.budget.total_bytes, record.evidence):
        raise UsageError(
            f"--gpu-mem {given['gpu_mem']} contradicts the record "
            f"({record.budget.requested or 'the whole GPU'}, {record.evidence})",
            _NEW,
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
