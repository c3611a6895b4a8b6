"""What a watched script tells, one file a process; read by the parent, so free of torch.

Every process that imports torch writes ``script-PID.json`` into the folder that the variable
``FFPROF_SCRIPT_FOLDER`` names, and again after every optimizer step, so that one that is killed has
told what it knew.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

FOLDER = "FFPROF_SCRIPT_FOLDER"
STEPS = "FFPROF_SCRIPT_STEPS"
SNAPSHOT = "FFPROF_SCRIPT_SNAPSHOT"
# PyTorch's own look whether gradients are finite: in zeros nothing is infinite.
SCALER = "torch/amp/grad_scaler.py"
HOOK_FOLDER = Path(__file__).parent / "path"
READ_AT_MOST = 16 * 2**20  # bytes; a report has a few hundred lines


@dataclass(frozen=True, kw_only=True)
class Place:
    """A line of code; ``text`` is what stands there. Empty where no line is known."""

    file: str = ""
    line: int = 0
    function: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class DevicePeaks:
    """Peaks of one device in bytes, of the first step and of later ones; None where none ran."""

    device: int
    cold_allocated: int
    cold_reserved: int
    allocated: int | None = None
    reserved: int | None = None
    retries: int = 0
    steady_retries: int = 0

    @property
    def most_reserved(self) -> int:
        """The higher of both reserved peaks."""
        return max(self.cold_reserved, self.reserved or 0)


@dataclass(frozen=True, kw_only=True)
class Read:
    """Values that one line read from the device, ``count`` times.

    ``decides_sizes``: how many elements a tensor gets depends on them. ``place`` is of the user,
    ``inner`` of the library that read in its stead, if one did.
    """

    what: str
    count: int
    place: Place
    inner: str = ""
    decides_sizes: bool = False


@dataclass(frozen=True, kw_only=True)
class HeldLine:
    """What one line of the user allocated and what is still held, by category."""

    place: Place
    by_category: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class HeldModule:
    """What one module itself holds, those inside of it left out, by category.

    ``module`` is its path; empty where it is no module's.
    """

    module: str
    by_category: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Held:
    """What was held at the peak of the allocated memory, in requested bytes.

    ``modules`` is empty where modules were not followed.
    """

    device: int
    by_category: Mapping[str, int]
    lines: tuple[HeldLine, ...]
    slack: int
    modules: tuple[HeldModule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OperatorRuns:
    """An operator with what one run of it does on one device, and how often it runs alike.

    FLOPs count a multiply-add as two, bytes are those of the tensors that it reads and writes.
    ``half`` is the format of its numbers if they have two bytes: ``bf16`` or ``fp16``.
    """

    name: str
    phase: str
    device: int
    flops: int
    read_bytes: int
    written_bytes: int
    element_bytes: int
    half: str = ""
    channels_last: bool = False
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class StepOperators:
    """Those of one step; ``complete``: all ``count`` are among the rows."""

    rows: tuple[OperatorRuns, ...]
    count: int
    complete: bool
    tf32_products: bool
    tf32_convolutions: bool


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The exception that ended the script."""

    kind: str
    message: str
    place: Place
    out_of_memory: bool = False


@dataclass(frozen=True, kw_only=True)
class RanOut:
    """The last request that no device memory was left for; the script may have gone on."""

    device: int
    asked: int
    allocated: int
    reserved: int
    count: int
    place: Place


@dataclass(frozen=True, kw_only=True)
class ScriptReport:
    """One process of a script.

    ``steps`` are whole rounds of its optimizers; ``finished``: it was stopped after all that were
    requested. ``used_cuda``: it asked for a device at all.
    """

    pid: int
    python: str
    steps: int = 0
    finished: bool = False
    used_cuda: bool = False
    compiled: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    peaks: tuple[DevicePeaks, ...] = ()
    reads: tuple[Read, ...] = ()
    held: Held | None = None
    operators: StepOperators | None = None
    problem: Problem | None = None
    ran_out: RanOut | None = None
    notes: tuple[str, ...] = ()

    @property
    def top(self) -> DevicePeaks | None:
        """The device on which most was reserved."""
        return highest(self.peaks)


def highest(peaks: Iterable[DevicePeaks]) -> DevicePeaks | None:
    """The device on which most was reserved, if there is any."""
    return max(peaks, key=lambda one: one.most_reserved, default=None)


def write_report(report: ScriptReport, folder: Path) -> None:
    """Whole or not at all; silent if the folder is gone, as the parent is then."""
    path = folder / f"script-{report.pid}.json"
    beside = folder / f".script-{report.pid}-{os.urandom(4).hex()}"
    with contextlib.suppress(OSError):
        beside.write_text(json.dumps(asdict(report)))
        beside.replace(path)


def read_reports(folder: Path) -> tuple[ScriptReport, ...]:
    """Those of all processes, the one with most steps first, then the one that held most."""
    found = []
    for path in sorted(folder.glob("script-*.json")):
        if path.stat().st_size <= READ_AT_MOST:
            found.append(_report(json.loads(path.read_text())))

    def weight(one: ScriptReport) -> tuple[int, int, bool]:
        held = one.top.most_reserved if one.top else 0
        return one.steps, held, one.problem is not None

    return tuple(sorted(found, key=weight, reverse=True))


def _report(raw: dict[str, Any]) -> ScriptReport:
    held, problem, ran_out = raw["held"], raw["problem"], raw["ran_out"]
    work = raw["operators"]
    changes = {
        "peaks": tuple(DevicePeaks(**one) for one in raw["peaks"]),
        "reads": tuple(_placed(Read, one) for one in raw["reads"]),
        "held": None
        if held is None
        else Held(
            **held
            | {
                "lines": tuple(_placed(HeldLine, one) for one in held["lines"]),
                "modules": tuple(HeldModule(**one) for one in held["modules"]),
            }
        ),
        "operators": None
        if work is None
        else StepOperators(**work | {"rows": tuple(OperatorRuns(**one) for one in work["rows"])}),
        "problem": None if problem is None else _placed(Problem, problem),
        "ran_out": None if ran_out is None else _placed(RanOut, ran_out),
        "notes": tuple(raw["notes"]),
    }
    known = {one.name for one in fields(ScriptReport)}
    return ScriptReport(**{name: raw[name] for name in known} | changes)


def _placed(kind: type[Any], raw: dict[str, Any]) -> Any:
    return kind(**raw | {"place": Place(**raw["place"])})
