"""The workloads, preset and recipe that words mean; a bad word is one clear line.

Files of ``--workload-file`` are read, described in child processes, and their ids checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ffprof.errors import UsageError, did_you_mean
from ffprof.experiments.options import Options
from ffprof.hardware.machine import check_threads, resolve_threads
from ffprof.harness.data.discovery import check_data, resolve_workers
from ffprof.harness.data.source import DataSet
from ffprof.harness.process.child import run_child
from ffprof.harness.worker import describe_child
from ffprof.records.audit import Device, WorkloadFile
from ffprof.records.base import check_size, check_trials
from ffprof.records.files import read_at_most
from ffprof.records.recipe import FAMILY, Recipe
from ffprof.records.trial import audit_bytes
from ffprof.workload import (
    Description,
    Preset,
    find_preset,
    find_workload,
    preset_names,
    workload_names,
)
from ffprof.workload.models import ModelDescription
from ffprof.workload.step import StepDescription
from ffprof.workload.user_file import FIRST_RANK, FileDescription, FileStep, Source


def all_workloads() -> tuple[list[Description], list[UsageError]]:
    """All registered workloads in the order of rows, and what is registered but broken."""
    found, broken = [], []
    for name in workload_names():
        try:
            found.append(find_workload(name))
        except UsageError as error:
            broken.append(error)
    return sorted(found, key=lambda d: (d.rank, d.id)), broken


def choose_workloads(
    words: str, own: Mapping[str, Description] | None = None, *, every: bool = False
) -> tuple[Description, ...]:
    """``core``, ``all``, or ids separated by commas, in the order of rows.

    Args:
        words: as typed after ``--workloads``.
        own: what can be chosen in addition to the registered ones, by id; ``all`` includes them.
        every: choose all of ``own`` whatever the words are.

    Raises:
        UsageError: an unknown or broken id, or none at all.
    """
    names = [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise UsageError(
            "--workloads names no workload", "write core, all, or ids from ffprof workloads"
        )
    own = own or {}
    chosen: dict[str, Description] = dict(own) if every else {}
    for name in names:
        if name in ("core", "all"):
            members, broken = all_workloads()
            if name == "all" and broken:
                raise broken[0]
            chosen |= {d.id: d for d in members if name == "all" or d.core}
            chosen |= own if name == "all" else {}
        elif name in own:
            chosen[name] = own[name]
        elif own and name not in workload_names():
            known = [*workload_names(), *own]
            raise UsageError(
                f"unknown workload {name!r}",
                f"{did_you_mean(name, known)}known are: {', '.join(known)}",
            )
        else:
            chosen[name] = find_workload(name)
    return tuple(sorted(chosen.values(), key=lambda d: (d.rank, d.id)))


def choose_preset(name: str | None, device: Device) -> Preset:
    """The preset of that name, or the default one on a device.

    Raises:
        UsageError: unknown, or no default is registered.
    """
    if name is not None:
        return find_preset(name)
    for candidate in (find_preset(known) for known in preset_names()):
        if candidate.default_for == device:
            return candidate
    raise UsageError(f"no preset is the default on {device}", "name one with --preset")


def whole_batches(changes: dict[str, Any], workloads: tuple[Description, ...]) -> dict[str, Any]:
    """Where a batch is requested and no workload cuts it, micro-batches need not divide it."""
    asked = changes.get("batch") is not None and changes.get("micro_batch") is None
    if asked and workloads and not any(one.accumulates for one in workloads):
        return {**changes, "micro_batch": changes["batch"]}
    return changes


def change_recipe(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """The recipe with the options that were given (those that are not None).

    Raises:
        UsageError: the result is not a recipe.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    merged = {**recipe.model_dump(), **given}
    batch, micro = merged["batch"], merged["micro_batch"]
    if batch > 0 and micro > 0 and batch % micro:
        divisors = [str(n) for n in range(1, min(batch, 10_000) + 1) if batch % n == 0]
        raise UsageError(
            f"--micro-batch {micro} does not divide --batch {batch}",
            f"use one of {', '.join(divisors[-12:])}",
        )
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = "--" + ".".join(map(str, first["loc"])).replace("_", "-")
        told = first["msg"].removeprefix("Value error, ")
        if first["loc"]:
            problem = f"{option} {first['input']!r} is not possible ({told})"
        else:
            problem = f"the recipe is not possible: {told}"
        raise UsageError(problem, "--help shows what is") from error


def absent_members(recipe: Recipe, workloads: tuple[Description, ...]) -> str:
    """Which registered rows of a claim's family are not in the audit, as a note; or nothing."""
    chosen = {d.id for d in workloads}
    families = {
        claim.baseline.removeprefix(FAMILY)
        for claim in recipe.claims
        if claim.baseline.startswith(FAMILY) and claim.challenger in chosen
    }
    absent = [
        one.id
        for one in all_workloads()[0]
        if one.family in families and one.id not in chosen and one.objection(recipe) is None
    ]
    if not absent:
        return ""
    told = " and ".join(sorted(families))
    return (
        f"the best row of family {told} is that of the rows here; registered too: "
        f"{', '.join(absent)} (--workloads all)"
    )


def check_recipe(recipe: Recipe, workloads: tuple[Description, ...]) -> None:
    """Fail if no workload can run under the recipe; a part that cannot is refused in the table.

    Raises:
        UsageError: all of them object.
    """
    objections = {d.id: d.objection(recipe) for d in workloads}
    if objections and all(objections.values()):
        first = next(iter(objections.values()))
        raise UsageError(f"nothing can run: {first}", "change the recipe")


def check_rounds(rounds: int, workloads: int, recipe: Recipe | None = None) -> None:
    """Refuse more than a result file can hold.

    Args:
        rounds: trials of each row.
        workloads: rows, or points of a frontier.
        recipe: has the steps of a trial, which are stored too; None counts trials only.

    Raises:
        UsageError: more trials, or a larger file, than is read again.
    """
    try:
        check_trials(workloads, rounds)
        if recipe is not None:
            nbytes = audit_bytes(rounds * workloads, workloads, recipe.steps, recipe.warmup_steps)
            each = f"{rounds:,} rounds of {workloads:,} workloads at {recipe.steps:,} steps"
            check_size(nbytes, each)
    except ValueError as error:
        raise UsageError(f"--rounds {rounds}: {error}", "use fewer of them") from error


LOAD_LIMIT_SECONDS = 120.0
MAX_BYTES = 16 * 1024 * 1024  # larger than any source file


@dataclass(frozen=True, kw_only=True)
class Selection:
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
            if isinstance(one, StepDescription) and one.images is None and not one.takes_batch
        ]
        told += [
            f"{one.id}: its build is given the recipe's batch of {one.micro_batch(recipe)}"
            for one in self.workloads
            if isinstance(one, FileStep) and one.takes_batch
        ]
        told += [
            note
            for one in self.workloads
            if isinstance(one, ModelDescription)
            for note in one.notes(recipe)
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
            content = read_at_most(path, MAX_BYTES)
            whole = str(path.resolve())
        except FileNotFoundError as error:
            raise UsageError(f"there is no workload file {name}", fix) from error
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror or error}", fix) from error
        if content is None:
            raise UsageError(f"{name} is larger than any Python file", fix)
        digest = hashlib.sha256(content).hexdigest()
        found.setdefault(whole, Source(name=name, path=whole, sha256=digest))
    return tuple(found.values())


def choose_with_files(
    words: str | None,
    sources: Sequence[Source],
    context: BaseContext,
    limit_seconds: float,
    default: str = "core",
) -> Selection:
    """The rows that were requested; by default those of ``default``, and all in the files.

    Raises:
        UsageError: a file cannot be loaded, an id is taken or unknown, or nothing of a file is
            requested.
    """
    own = describe_files(sources, context, limit_seconds)
    workloads = choose_workloads(default if words is None else words, own, every=words is None)
    ids = {d.id for d in workloads}
    for source in sources:
        inside = [d.id for d in own.values() if d.source == source]
        if not ids & set(inside):
            raise UsageError(
                f"--workloads {words} selects nothing in {source.name}",
                f"add one of {', '.join(inside)}, or leave the file out",
            )
    files = tuple(
        WorkloadFile(
            path=source.name,
            sha256=source.sha256,
            workloads=tuple(d.id for d in own.values() if d.source == source and d.id in ids),
            steps=tuple(
                d.id
                for d in own.values()
                if d.source == source and d.id in ids and isinstance(d, StepDescription)
            ),
        )
        for source in sources
    )
    return Selection(workloads=workloads, files=files)


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
    found = ending.answer(tuple)
    if isinstance(found, tuple):
        return found
    if found in ending.messages:
        raise UsageError(found.message, "")
    if ending.kind == "timeout":
        raise UsageError(
            f"{source.name} is still being loaded after {limit_seconds:g} s",
            "move training into functions or methods that it defines",
        )
    raise UsageError(
        f"{source.name} ends the process that loads it"
        + (f" ({ending.reason})" if ending.reason else ""),
        "let it define its workloads and nothing more",
    )


# Published figures belong to a preset as it is, and to rows that it was made for.
_PUBLISHED = ("backbone", "width", "image_size", "classes")


def choose_recipe(
    options: Options, workloads: tuple[Description, ...], device: Device, data: DataSet | None
) -> Recipe:
    """The preset with what was asked to be otherwise; threads and data workers are settled.

    Raises:
        FfprofError: it is no recipe, or nothing can run under it here.
    """
    changes = whole_batches(options.changes, workloads) | (data.changes() if data else {})
    preset = choose_preset(options.preset, device).recipe
    recipe = change_recipe(preset, changes)
    own = all(isinstance(one, FileDescription) for one in workloads)
    if own or any(getattr(recipe, name) != getattr(preset, name) for name in _PUBLISHED):
        recipe = recipe.model_copy(update={"references": ()})
    check_recipe(recipe, workloads)
    return fitted_recipe(recipe, device, data)


def fitted_recipe(recipe: Recipe, device: Device, data: DataSet | None) -> Recipe:
    """The recipe with threads and data workers settled for this machine.

    Raises:
        UsageError: it has fewer processors, or data and recipe cannot be combined.
    """
    recipe = resolve_threads(resolve_workers(recipe, device))
    check_threads(recipe)
    check_data(recipe, data)
    return recipe
