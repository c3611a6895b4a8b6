"""Calibrations that are kept for a machine, in the user's cache.

One file for every fingerprint and setting: a calibration is of one machine, one torch and steps of
one length. A file that cannot be read is never an error: it is passed over, with a note that says
why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ffprof.errors import one_line
from ffprof.hardware.machine import fingerprint
from ffprof.records.audit import Device, Machine
from ffprof.records.calibration import CalibrationRecord
from ffprof.records.files import cache_folder, read_at_most, replacement
from ffprof.records.recipe import Recipe

_READ_AT_MOST = 8 * 1024 * 1024  # bytes; 10,000 workloads are 5 MB

# What decides how long steps are and how many are timed: noise of other steps is another noise.
SETTING = (
    "preset", "backbone", "width", "norm", "channels", "image_size", "classes", "batch",
    "micro_batch", "precision", "memory_format", "optimizer", "data", "data_workers", "threads",
    "flags", "warmup_steps", "steps", "min_steps", "step_box_seconds",
)  # fmt: skip


def device_of_evidence(record: CalibrationRecord) -> Device:
    """Where a calibration was measured."""
    return "cpu" if record.evidence == "measured (cpu)" else "cuda"


def keep_calibration(record: CalibrationRecord, folder: Path | None = None) -> tuple[Path, str]:
    """Keep it for its machine; returns where, and a note if it is not kept.

    It replaces one of the same machine and setting whose audit is not newer.
    """
    name = _name(record.machine, device_of_evidence(record), record.recipe)
    try:
        path = _folder(folder) / name
        before = _kept_before(record, path)
        if before is not None and _when(before) > _when(record):
            return path, one_line(
                "the calibration is not stored: a newer one of this machine and setting, of "
                f"{before.created:%Y-%m-%d %H:%M} UTC, is in {path}; remove that file to replace it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacement(path) as file:
            file.write(f"{record.model_dump_json(indent=1)}\n".encode())
    except RuntimeError as error:  # nobody's home folder is known
        return Path(name), one_line(f"the calibration is not stored for this machine: {error}")
    except OSError as error:
        why = f"{path}: {error.strerror or error}"
        return path, one_line(f"the calibration is not stored for this machine: {why}")
    return path, ""


def kept_calibration(
    machine: Machine, device: Device, recipe: Recipe, folder: Path | None = None
) -> tuple[CalibrationRecord | None, str]:
    """The calibration of this machine for steps like the recipe's, or None; and a note if damaged.

    ``recipe`` has its threads resolved.
    """
    try:
        path = _folder(folder) / _name(machine, device, recipe)
    except RuntimeError:
        return None, ""
    found, problem = _read(path, fingerprint(machine, device))
    if found is not None and _setting(found.recipe) != _setting(recipe):
        found, problem = None, "it is of another setting"
    return found, _note(path, problem)


def _kept_before(record: CalibrationRecord, path: Path) -> CalibrationRecord | None:
    """What is kept of the record's machine and setting, unless it is damaged."""
    found, _ = _read(path, fingerprint(record.machine, device_of_evidence(record)))
    return (
        found if found is not None and _setting(found.recipe) == _setting(record.recipe) else None
    )


def _when(record: CalibrationRecord) -> datetime:
    """In UTC unless it says otherwise: a time with a zone cannot be compared with one without."""
    when = record.created
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _folder(folder: Path | None) -> Path:
    return cache_folder() if folder is None else folder


def _name(machine: Machine, device: Device, recipe: Recipe) -> str:
    return f"noise-{_digest(fingerprint(machine, device))}-{_digest(_setting(recipe))}.json"


def _setting(recipe: Recipe) -> dict[str, object]:
    return recipe.model_dump(mode="json", include=set(SETTING))


def _digest(document: Mapping[str, object]) -> str:
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path, wanted: Mapping[str, str]) -> tuple[CalibrationRecord | None, str]:
    try:
        raw = read_at_most(path, _READ_AT_MOST)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, error.strerror or str(error)
    if raw is None:
        return None, "larger than anything ffprof writes"
    try:
        record = CalibrationRecord.model_validate_json(raw)
    except ValidationError as error:
        return None, error.errors(include_url=False, include_context=False)[0]["msg"]
    if fingerprint(record.machine, device_of_evidence(record)) != wanted:
        return None, "it is of another machine or of other versions"
    return record, ""


def _note(path: Path, problem: str) -> str:
    if not problem:
        return ""
    return one_line(
        f"{path} is damaged and is ignored: {problem[:300]}; ffprof calibrate replaces it"
    )[:1000]
