"""What measured audits taught about memory outside the allocator, kept in the user's cache.

One small file for every combination of GPU, driver, torch and CUDA, because the figure changes
with each of them. A file that cannot be read is never an error: the estimate falls back to its
range and says why.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from ffprof.errors import one_line
from ffprof.estimator.process import Overhead
from ffprof.records.audit import Machine, Record
from ffprof.records.files import cache_folder, read_at_most, replace_file

_VERSION = 1
_KEPT = 200  # newest trials; a driver's life is shorter
_READ_AT_MOST = 64 * 1024  # bytes; 200 figures are 3 KiB
_LARGEST = 2**40  # bytes; no context is a terabyte


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the overhead depends on: GPU by its name, and versions as torch tells them."""

    gpu: str
    driver: str
    torch: str
    cuda: str


def identity_of(machine: Machine) -> Identity | None:
    """The identity of a record's machine, or None where no GPU or driver is known."""
    if machine.gpu is None or machine.driver is None:
        return None
    versions = machine.versions
    return Identity(
        gpu=machine.gpu,
        driver=machine.driver,
        torch=versions.get("torch build", versions.get("torch", "")),
        cuda=versions.get("cuda build", ""),
    )


def overheads_in(record: Record) -> tuple[int, ...]:
    """Bytes outside the allocator in every CUDA trial that ran to its end.

    The debit after the first step or at the end, whichever is larger. Records without it have the
    peak of the process less the larger of the allocator's peaks, before and after warm-up.
    """
    found = []
    for trial in record.trials:
        memory = trial.memory
        if trial.device != "cuda" or trial.outcome != "ok":
            continue
        if trial.debit is not None:
            if trial.conditions.disturbances or not trial.debit.source.startswith("NVML"):
                continue  # others may be in it
            taken = max(trial.debit.step_bytes or 0, trial.debit.end_bytes or 0)
            found += [taken] if taken else []
            continue
        process, reserved = memory.process_peak_bytes, memory.reserved_peak_bytes
        if process is None or reserved is None:
            continue
        outside = process - max(reserved, memory.cold_reserved_peak_bytes or 0)
        if outside > 0:
            found.append(outside)
    return tuple(found)


def remember(record: Record, folder: Path | None = None) -> str:
    """Keep what a CUDA audit measured; returns a note if it could not, else an empty text.

    An audit never fails because of it.
    """
    identity, new = identity_of(record.machine), overheads_in(record)
    if identity is None or not new:
        return ""
    try:
        path = _path(identity, folder)
    except RuntimeError as error:  # nobody's home folder is known
        return one_line(f"what was learned about this GPU is not kept: {error}")
    old, _ = _read(path, identity)
    document = {
        "version": _VERSION,
        "identity": asdict(identity),
        "overhead_bytes": [*old, *new][-_KEPT:],
    }
    try:
        replace_file(path, json.dumps(document, indent=1) + "\n")
    except OSError as error:
        return f"what was learned about this GPU is not kept: {path}: {error.strerror or error}"
    return ""


def learned_overhead(identity: Identity, folder: Path | None = None) -> tuple[Overhead | None, str]:
    """What was measured with this GPU and these versions, or None; and a note, mostly empty.

    Low and high are the extremes over the trials, likely is their median.
    """
    try:
        path = _path(identity, folder)
    except RuntimeError as error:
        return None, one_line(f"nothing learned can be looked up: {error}")
    values, note = _read(path, identity)
    if not values:
        return None, note
    many = f"{len(values)} trials" if len(values) > 1 else "1 trial"
    return Overhead(
        low_bytes=min(values),
        likely_bytes=round(statistics.median(values)),
        high_bytes=max(values),
        measured=True,
        sources=(
            f"measured on this machine: {many} with {identity.gpu}, driver {identity.driver}, "
            f"torch {identity.torch}, CUDA {identity.cuda}",
        ),
    ), note


def _path(identity: Identity, folder: Path | None) -> Path:
    text = json.dumps(asdict(identity), sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return (cache_folder() if folder is None else folder) / f"overhead-{name}.json"


def _read(path: Path, identity: Identity) -> tuple[list[int], str]:
    """The figures in a file, and why there are none if it should have held some."""
    try:
        raw = read_at_most(path, _READ_AT_MOST)
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        return [], one_line(f"{path} cannot be read and is ignored: {error.strerror or error}")
    problem = "larger than anything ffprof writes"
    if raw is not None:
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            problem = "not JSON"
        else:
            problem = _problem(document, identity)
            if not problem:
                return list(document["overhead_bytes"]), ""
    return [], one_line(
        f"{path} is damaged and is ignored: {problem}; the next audit on this GPU replaces it"
    )


def _problem(document: object, identity: Identity) -> str:
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        return "not a file of this version"
    if document.get("identity") != asdict(identity):
        return "about another GPU or other versions"
    values = document.get("overhead_bytes")
    if not isinstance(values, list) or not 0 < len(values) <= _KEPT:
        return "no figures"
    # type() and not isinstance(): true is an int to Python
    if not all(type(value) is int and 0 < value < _LARGEST for value in values):
        return "figures that cannot be"
    return ""
