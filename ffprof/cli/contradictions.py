"""Options beside ``--resume`` must say what the record says."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ffprof.cli.choose import choose_workloads
from ffprof.errors import UsageError
from ffprof.hardware.cards import budget_for, cuda_budget
from ffprof.recipe import Recipe
from ffprof.record import Device, Record
from ffprof.units import parse_size
from ffprof.workload import find_preset

_NEW = "leave it out, or start a new audit without --resume"
# What no option of ``ffprof run`` changes comes from the preset alone.
_OPTIONS = (
    "backbone", "width", "norm", "image_size", "batch", "micro_batch", "precision",
    "memory_format", "data", "seed", "threads", "steps",
)  # fmt: skip
MAY_CHANGE = ("rounds", "time_limit", "run_limit")


def check_options(record: Record, path: Path, device: Device, given: Mapping[str, Any]) -> None:
    """Everything that was given must say what the record says.

    Raises:
        UsageError: the first that does not.
    """
    recipe = record.recipe
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if name in _OPTIONS:
            if value != getattr(recipe, name):
                _refuse(option, value, path, getattr(recipe, name))
        elif name == "preset":
            _check_preset(value, record, path)
        elif name == "workloads":
            if {d.id for d in choose_workloads(value)} != set(record.plan.workloads):
                _refuse(option, value, path, ",".join(record.plan.workloads))
        elif name == "device":
            if value not in ("auto", device):
                _refuse(option, value, path, device)
        elif name == "out":
            if Path(value).resolve() != path.parent.resolve():
                _refuse(option, value, path, f"in {path.parent}")
        elif name == "gpu_mem":
            parse_size(value)  # what it means is known once the GPU is
        elif name == "rounds":
            if value < record.plan.rounds:
                raise UsageError(
                    f"--rounds {value} is fewer than {path} has ({record.plan.rounds})",
                    "rounds can be added, not taken away",
                )
        elif name not in MAY_CHANGE:
            raise UsageError(f"{option} cannot be given with --resume", _NEW)


def _refuse(option: str, value: object, path: Path, recorded: object) -> None:
    raise UsageError(f"{option} {value} contradicts {path} ({recorded})", _NEW)


def _check_preset(name: str, record: Record, path: Path) -> None:
    """The preset must be the record's, and still say what it said then."""
    recipe = record.recipe
    if name != recipe.preset:
        _refuse("--preset", name, path, recipe.preset)
    now = find_preset(name).recipe
    words = [word.split("=")[0] for word in shlex.split(record.command)]
    changed = [
        field
        for field in Recipe.model_fields
        if getattr(now, field) != getattr(recipe, field)
        and f"--{field.replace('_', '-')}" not in words
        and not (field == "threads" and now.threads is None)
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
    if (budget.limit_bytes, evidence) != (record.budget.limit_bytes, record.evidence):
        raise UsageError(
            f"--gpu-mem {given['gpu_mem']} contradicts the record "
            f"({record.budget.requested or 'the whole GPU'}, {record.evidence})",
            _NEW,
        )
