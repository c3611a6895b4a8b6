"""GPU memory outside PyTorch's allocator: the CUDA context, library kernels and a display.

What nvidia-smi shows of a process is what the allocator reserved plus this. It depends on the
GPU, the driver and the builds, and nobody publishes a table, so it is a range put together from
single public readings, until an audit has measured it here. Workspaces of cuBLAS and cuDNN come
from the allocator and are not in it.

What was measured is kept in the user's cache, one small file for every combination of GPU, driver,
torch and CUDA, because the figure changes with each of them. A file that cannot be read is never an
error: the estimate falls back to its range and says why.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from ffprof.errors import one_line
from ffprof.records.audit import Machine, Record
from ffprof.records.files import cache_folder, read_at_most, replacement
from ffprof.units import MIB

# CUDA 11.7 brought loading kernels when they are first used
# (docs.nvidia.com/cuda/cuda-programming-guide, 4.7.2); PyTorch requests it since 1.13
# (github.com/pytorch/pytorch/pull/86509), CUDA does so itself since 12.2.
LAZY_SINCE = (11, 7)
# Where no card is named: the compute capability of most cards of the 8 GB class (Ampere), and,
# where torch was built for no CUDA, the version that torch 2.11's default wheel is built for.
ASSUMED_CAPABILITY = (8, 6)
ASSUMED_CUDA = (12, 8)


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """Bytes as (low, likely, high), and where they come from.

    ``measured`` is true for what ffprof measured with the same GPU, driver and builds.
    """

    low_bytes: int
    likely_bytes: int
    high_bytes: int
    measured: bool
    sources: tuple[str, ...]

    def __add__(self, other: Overhead) -> Overhead:
        return Overhead(
            low_bytes=self.low_bytes + other.low_bytes,
            likely_bytes=self.likely_bytes + other.likely_bytes,
            high_bytes=self.high_bytes + other.high_bytes,
            measured=self.measured and other.measured,
            sources=self.sources + other.sources,
        )


def _range(low: int, likely: int, high: int, *sources: str) -> Overhead:
    return Overhead(
        low_bytes=low * MIB,
        likely_bytes=likely * MIB,
        high_bytes=high * MIB,
        measured=False,
        sources=sources,
    )


_LAZY_CONTEXT = _range(
    256,
    320,
    430,
    "context, lazy: 256 MiB on an RTX 3090, torch 2.7.1+cu128, driver 610 "
    "(github.com/invoke-ai/InvokeAI/issues/9413)",
    "context, lazy: 274 MiB with one small tensor, torch 1.13 (github.com/pytorch/pytorch/pull/"
    "86509); around 300 and around 400 MB (pytorch issues 107667 and 109888)",
)
# The same since torch was built for CUDA 12.4, on GeForce cards of Ampere and Ada. Inferred for
# workstation and server cards of the same capabilities (A40, L4, L40S).
_SMALL_CONTEXT = _range(
    100,
    160,
    430,
    "context, lazy: at most 106 MiB on an RTX 4060 and 141 on an RTX 3060, torch 2.6+cu124: what "
    "CUDA offers less the most that any of 153 runs added to it (raw data of github.com/"
    "Stone-ResearchLife/xMem, plot/data)",
    "context, lazy: 256 MiB on an RTX 3090, torch 2.7.1+cu128, driver 610 "
    "(github.com/invoke-ai/InvokeAI/issues/9413); the high end from older versions",
)
_SMALL_SINCE = (12, 4)
# Before: all kernels of all libraries were in the context as soon as it was made.
_EAGER_CONTEXT = _range(
    633,
    1105,
    1488,
    "context with all kernels: 636 MiB with one small tensor, torch 1.13 built for CUDA 11.7 "
    "(github.com/pytorch/pytorch/pull/86509)",
    "context with all kernels: 1105 MiB, torch 1.7.1+cu110 (github.com/pytorch/pytorch/issues/"
    "60150); 1006 MiB on a Titan V, torch 1.3 (issue 28394)",
    "context with all kernels: 1488 MiB on an RTX 3090, torch 1.7.1+cu110, which is 1644 less a "
    "tensor of 156 (github.com/pytorch/pytorch/issues/49877)",
)
# The same runs took what PyTorch reserved, to 1 MiB where nothing else was in doubt, so what their
# kernels took later was hardly more than nothing. The high end is that of the table below.
_SMALL_LIBRARIES = _range(
    0, 90, 800, "cuBLAS and cuDNN kernels: 0 to 20 MiB in xMem's runs; guessed if autotuned"
)
# Kernels that a training step of a convolutional net loads from cuBLAS and cuDNN, by the first
# compute capability that the row holds for. Guessed: "several hundred MiB" is all that is known;
# newer architectures carry more and larger kernels.
_LIBRARIES = {
    (5, 0): _range(80, 200, 450, "cuBLAS and cuDNN kernels before tensor cores: guessed"),
    (7, 0): _range(100, 300, 600, "cuBLAS and cuDNN kernels: guessed, several hundred MiB"),
    (8, 0): _range(
        100,
        300,
        1300,
        "cuBLAS and cuDNN kernels: guessed, several hundred MiB; the high end from 1721 MiB in "
        "all, fitted to public figures of an A100 that autotuned (docs/estimator.md)",
    ),
    (8, 6): _range(
        100, 300, 800, "cuBLAS and cuDNN kernels: guessed, several hundred MiB, more if autotuned"
    ),
    (9, 0): _range(
        150,
        400,
        900,
        "cuBLAS and cuDNN kernels, Hopper and later: guessed; the high end from 1020 MiB in all "
        "on an RTX 5060 Ti (github.com/Luce-Org/lucebox/issues/407)",
    ),
}
# A GPU that also drives a desktop.
_DISPLAY = _range(
    127,
    300,
    500,
    "display: 127 MiB of a Wayland desktop, 300 to 500 less for CUDA than on a bare card "
    "(github.com/Anbeeld/beellama.cpp/issues/145)",
)


def process_overhead(
    capability: tuple[int, int],
    *,
    cuda: tuple[int, int],
    lazy: bool | None = None,
    display: bool = False,
) -> Overhead:
    """What a training process takes outside the allocator on a card of this capability.

    ``cuda`` is the version that torch was built for, (major, minor). ``lazy`` says whether
    kernels are loaded when first used; None takes what that version does. With ``display``, what
    a desktop on the same card takes is added.
    """
    if lazy is None:
        lazy = cuda >= LAZY_SINCE
    library = max((since for since in _LIBRARIES if since <= capability), default=min(_LIBRARIES))
    # With eager loading the libraries' kernels are in the context already.
    if not lazy:
        made = _EAGER_CONTEXT
    elif library == (8, 6) and cuda >= _SMALL_SINCE:
        made = _SMALL_CONTEXT + _SMALL_LIBRARIES
    else:
        made = _LAZY_CONTEXT + _LIBRARIES[library]
    return made + _DISPLAY if display else made


def display_overhead() -> Overhead:
    """What a desktop takes of the card that it is drawn on."""
    return _DISPLAY


def cuda_version(text: str) -> tuple[int, int]:
    """(12, 8) of "12.8", as torch.version.cuda and a record's versions spell it.

    Raises:
        ValueError: not a version, such as "None" of a CPU build.
    """
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return int(major), int(minor or 0)


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
    if identity is None or not new or record.machine.null_device:  # there it is an assumption
        return ""
    try:
        path = _path(identity, folder)
    except RuntimeError as error:  # nobody's home folder is known
        return one_line(f"the measured overhead of this GPU is not stored: {error}")
    old, _ = _read(path, identity)
    document = {
        "version": _VERSION,
        "identity": asdict(identity),
        "overhead_bytes": [*old, *new][-_KEPT:],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacement(path) as file:
            file.write(f"{json.dumps(document, indent=1)}\n".encode())
    except OSError as error:
        return f"the measured overhead of this GPU is not stored: {path}: {error.strerror or error}"
    return ""


def learned_overhead(identity: Identity, folder: Path | None = None) -> tuple[Overhead | None, str]:
    """What was measured with this GPU and these versions, or None; and a note, mostly empty.

    Low and high are the extremes over the trials, likely is their median.
    """
    try:
        path = _path(identity, folder)
    except RuntimeError as error:
        return None, one_line(f"measured overheads cannot be read: {error}")
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
        return "impossible figures"
    return ""
