"""Options beside ``--resume`` must say what the record says."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ffprof.cli.choose import choose_workloads
from ffprof.errors import UsageError
from ffprof.hardware.budget import budget_for, cuda_budget
from ffprof.harness.data.source import DOWNLOADABLE, parse_data
from ffprof.records.audit import Device, Record
from ffprof.records.recipe import FILE_DATA, Recipe
from ffprof.units import parse_size
from ffprof.workload import find_preset

_NEW = "leave it out, or start a new audit without --resume"
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

    Whether files and a folder of data are the same ones is for ``ffprof.cli.recorded`` to see.

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


def refuse(option: str, value: object, path: Path, recorded: object) -> NoReturn:
    """Say that an option is not what the record has.

    Raises:
        UsageError: always.
    """
    raise UsageError(f"{option} {value} contradicts {path} ({recorded})", _NEW)


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
