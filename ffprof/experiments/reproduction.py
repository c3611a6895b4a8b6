"""The command that makes a result again, from its record."""

from __future__ import annotations

import ast
import shlex
from dataclasses import dataclass

from ffprof.analysis.ledger import recipe_differences
from ffprof.errors import UsageError
from ffprof.experiments.options import CHANGES, Options
from ffprof.records.audit import Budget, Record
from ffprof.records.recipe import Recipe
from ffprof.records.redaction import LEFT_OUT
from ffprof.records.store import AnyRecord
from ffprof.workload import find_preset

_DEVICES = {"estimated": "estimate", "measured (cpu)": "cpu"}  # others are on CUDA
# Commands that make files of a kind.
_MADE_BY = {
    "frontier": ("frontier",),
    "capacity": ("run", "estimate"),
    "calibration": ("calibrate",),
    "learning": ("learn",),
}


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A command line, or empty; ``made_with`` is what it was run with, ``notes`` what it lacks."""

    command: str
    made_with: str
    notes: tuple[str, ...] = ()


def reproduction_of(record: AnyRecord) -> Reproduction:
    """How to make a result again.

    Of an audit it is made from the record, with all that its machine decided written out, so that
    another machine does the same. Of other kinds it is the command that was typed.
    """
    notes: list[str] = []
    if not isinstance(record, Record):
        command = _as_typed(record, notes)
    else:
        command = _of_audit(record, notes)
    if LEFT_OUT in command:
        notes.append(f"{LEFT_OUT} stands for what looked like a secret")
    return Reproduction(command=command, made_with=_made_with(record), notes=tuple(notes))


def _of_audit(record: Record, notes: list[str]) -> str:
    plan, recipe = record.plan, record.recipe
    device = _DEVICES.get(record.evidence, "cuda")
    words = ["ffprof", "run", "--device", device]
    if record.machine.null_device:
        words = ["ffprof", "run", "--device", "estimate", "--engine", "null"]
    words += ["--preset", recipe.preset]
    for file in plan.files:
        words += ["--workload-file", file.path]
        notes.append(f"{file.path} had the sha256 {file.sha256}")
    words += ["--workloads", ",".join(plan.workloads)]
    if device != "estimate":
        words += ["--rounds", str(plan.rounds)]
        if plan.trial_limit_seconds != Options.time_limit:
            words += ["--time-limit", f"{plan.trial_limit_seconds:g}"]
    if device != "cpu":
        words += _budget_words(record.budget)
    words += _recipe_words(recipe, notes)
    return shlex.join(words)


def _budget_words(budget: Budget) -> list[str]:
    if budget.card:
        words = ["--card", budget.card]
    else:
        words = ["--gpu-mem", budget.requested] if budget.requested else []
    return [*words, "--display"] if budget.display_bytes else words


def _recipe_words(recipe: Recipe, notes: list[str]) -> list[str]:
    """Options that make the preset's recipe this one, as far as there are options."""
    try:
        preset = find_preset(recipe.preset).recipe
    except UsageError:
        notes.append(f"preset {recipe.preset!r} is not known here: install what registers it")
        return []
    words: list[str] = []
    for name in CHANGES:
        value = getattr(recipe, name)
        if value != getattr(preset, name) and value is not None:
            words += [
                f"--{name.replace('_', '-')}",
                f"{value:g}" if name == "width" else str(value),
            ]
    data = ("data", "data_root", "data_fingerprint", "classes")
    if any(getattr(recipe, name) != getattr(preset, name) for name in data):
        where = f"{recipe.data}:{recipe.data_root}" if recipe.data_root else recipe.data
        words += ["--data", where]
        if recipe.data_fingerprint:
            notes.append(f"the data had the fingerprint {recipe.data_fingerprint}")
    same = {name: getattr(recipe, name) for name in (*CHANGES, *data)}
    if left := recipe_differences(recipe, preset.model_copy(update=same)):
        notes.append(f"no option says that {'; '.join(left)} (this file's first, the preset's now)")
    return words


def _as_typed(record: AnyRecord, notes: list[str]) -> str:
    kind = getattr(record, "kind", "audit")
    try:
        words = shlex.split(record.command)
    except ValueError:  # cut, or no command line
        words = []
    if words[:1] == ["ffprof"] and words[1:2] and words[1] in _MADE_BY.get(kind, ()):
        return shlex.join(words)  # whatever is written there, a shell runs ffprof and nothing more
    if _is_call(record.command):
        notes.append("it was called from Python")
        return record.command
    notes.append("the command that made it is not in the file")
    return ""


def _is_call(text: str) -> bool:
    """Whether it is a call of ffprof's in Python, with values alone."""
    try:
        tree = ast.parse(text, mode="eval").body
        if not isinstance(tree, ast.Call) or tree.args:
            return False
        of = tree.func
        if not (isinstance(of, ast.Attribute) and isinstance(of.value, ast.Name)):
            return False
        if of.value.id != "ffprof":
            return False
        for one in tree.keywords:
            ast.literal_eval(one.value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


def _made_with(record: AnyRecord) -> str:
    machine = record.machine
    commit = f" at commit {machine.commit}" if machine.commit else ""
    null = "a null device, " if machine.null_device else ""
    where = "" if record.evidence == "estimated" else f", on {null}{machine.gpu or machine.cpu}"
    torch = machine.versions.get("torch", "?")
    return f"made with ffprof {record.ffprof}{commit} and torch {torch}{where}"
