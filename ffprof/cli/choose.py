"""From the words of the command line to workloads and a recipe; a bad word is one clear line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ffprof.errors import UsageError
from ffprof.records.audit import Device
from ffprof.records.base import check_trials
from ffprof.records.recipe import FAMILY, Recipe
from ffprof.workload import (
    Description,
    Preset,
    find_preset,
    find_workload,
    preset_names,
    workload_names,
)


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
        own: what can be chosen beside the registered ones, by id; ``all`` includes them.
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
            known = ", ".join([*workload_names(), *own])
            raise UsageError(f"unknown workload {name!r}", f"known are: {known}")
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
    """Where a batch is asked for and no workload cuts it, micro-batches need not divide it."""
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
        raise UsageError(problem, "--help says what is") from error


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


def check_rounds(rounds: int, workloads: int) -> None:
    """Raise UsageError for more trials than a record can hold."""
    try:
        check_trials(workloads, rounds)
    except ValueError as error:
        raise UsageError(f"--rounds {rounds}: {error}", "use fewer of either") from error
