"""From options to a request: probe the machine, choose device, preset and budget, name the file."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ffprof import __version__
from ffprof.audit.lock import writing
from ffprof.audit.runner import Request
from ffprof.audit.sources.look import check_data, complete, crowding, look_at, resolve_workers
from ffprof.audit.sources.words import Found, parse_data
from ffprof.audit.store import prepare_folder
from ffprof.cli.choose import (
    absent_members,
    change_recipe,
    check_recipe,
    choose_preset,
    choose_workloads,
)
from ffprof.cli.own_files import Chosen, choose_with_files, read_sources
from ffprof.cli.starting import say, started, trial_context
from ffprof.compare.verdicts import judge
from ffprof.errors import DeviceError
from ffprof.hardware.cards import budget_for, cuda_budget
from ffprof.hardware.environment import child_environment, environment
from ffprof.hardware.machine import (
    Probe,
    check_threads,
    describe_machine,
    resolve_threads,
)
from ffprof.recipe import Recipe
from ffprof.record import Budget, Device, Evidence, Plan, Record
from ffprof.workload import Description

DEFAULT_GPU_MEM = "8GB"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for, in the words of the command line; None is what was not given."""

    preset: str | None
    workloads: str | None
    workload_files: tuple[Path, ...]
    device: str
    gpu_mem: str | None
    rounds: int
    changes: dict[str, Any]
    data: str | None
    download: bool
    time_limit: float
    run_limit: float | None
    out: Path
    dry_run: bool = False


@contextmanager
def prepare(options: Options) -> Iterator[Request]:
    """A request that is ready to run, inside the environment that its children need.

    Raises:
        FfprofError: anything that makes the audit impossible, before anything is written.
    """
    words = options.workloads
    sources = read_sources(options.workload_files)
    # What is in a file is known only once it was loaded, and that needs a process.
    named = () if sources else choose_workloads("core" if words is None else words)
    data_words = None if options.data is None else parse_data(options.data)
    asked = budget_for(DEFAULT_GPU_MEM if options.gpu_mem is None else options.gpu_mem)
    # What is wrong with the recipe is said before a process is started for the probe. Which
    # preset is the default depends on the device, but what options do wrong does not.
    seen = look_at(data_words, options.download)
    first = _recipe(options, named, "cuda" if options.device == "cuda" else "cpu", seen)
    with started(first, dry_run=options.dry_run) as (server, found):
        chosen = Chosen(workloads=named, files=())
        if sources:
            chosen = choose_with_files(words, sources, server, options.time_limit)
        workloads = chosen.workloads
        device = _device(options.device, found)
        data = None
        if seen:
            data = complete(seen, server, options.download, say, look_only=options.dry_run)
        recipe = _recipe(options, workloads, device, data)
        recipe = resolve_threads(resolve_workers(recipe, device))
        check_threads(recipe)
        check_data(recipe, data)
        wanted = child_environment(recipe)
        budget, evidence, notes = _budget(asked, options, device, found)
        if not options.dry_run:
            prepare_folder(options.out)
        created = datetime.now(UTC)
        record = Record(
            created=created,
            ffprof=__version__,
            command=shlex.join(["ffprof", *sys.argv[1:]]),
            recipe=recipe,
            recipe_hash=recipe.digest(),
            plan=Plan(
                workloads=tuple(d.id for d in workloads),
                families={d.id: d.family for d in workloads},
                rounds=options.rounds,
                trial_limit_seconds=options.time_limit,
                run_limit_seconds=options.run_limit,
                files=chosen.files,
            ),
            budget=budget,
            machine=describe_machine(found, wanted),
            evidence=evidence,
            notes=tuple(
                note
                for note in (
                    *notes,
                    *chosen.notes(recipe),
                    crowding(recipe, device),
                    absent_members(recipe, workloads),
                )
                if note
            ),
        )
        path = _path(options.out, recipe.preset, device, created)
        # On a GPU the preset may be another one than the probe was started for.
        with environment(wanted), nullcontext() if options.dry_run else writing(path):
            yield Request(
                record=record,
                workloads=workloads,
                device=device,
                path=path,
                context=trial_context(server, device),
                judge=judge,
            )


def _recipe(
    options: Options, workloads: tuple[Description, ...], device: Device, data: Found | None
) -> Recipe:
    changes = {**options.changes, **(data.changes() if data else {})}
    recipe = change_recipe(choose_preset(options.preset, device).recipe, changes)
    check_recipe(recipe, workloads)
    check_data(recipe, data)
    return recipe


def _device(asked: str, found: Probe) -> Device:
    if asked == "cuda" and not found.cuda:
        raise DeviceError(
            f"--device cuda: {found.reason}", "use --device cpu, or check the NVIDIA driver"
        )
    return "cuda" if found.cuda and asked != "cpu" else "cpu"


def _budget(
    asked: Budget, options: Options, device: Device, found: Probe
) -> tuple[Budget, Evidence, tuple[str, ...]]:
    if device == "cpu":
        notes = [
            "measured on a CPU: the peak of live tensors is what the method holds; it is not what "
            "CUDA's allocator would reserve, and says nothing about speed on a GPU",
        ]
        if options.gpu_mem:
            notes.append(
                f"--gpu-mem {options.gpu_mem} has no effect here: it limits CUDA memory only"
            )
        return Budget(requested=options.gpu_mem or ""), "measured (cpu)", tuple(notes)
    return cuda_budget(asked, found.gpu_total_bytes or 0, explicit=options.gpu_mem is not None)


def _path(folder: Path, preset: str, device: Device, created: datetime) -> Path:
    # The process number keeps two audits apart that start in the same second.
    return folder / f"audit-{preset}-{device}-{created:%Y%m%d-%H%M%S}-{os.getpid()}.json"
