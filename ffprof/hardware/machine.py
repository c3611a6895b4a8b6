"""The machine that an audit ran on, and whether this is the same one.

The parent never imports torch and never touches CUDA; what only torch knows is asked of a child
(``probe``), which is also how ``--device auto`` finds out whether there is a GPU.

Trials of one table must be comparable, so what decides a figure must be equal when an audit goes
on: processor, memory class, the versions of ffprof and of torch with its build, Python, the
measuring code, and for CUDA the GPU itself, its driver and cuDNN. What hardly does (the kernel,
other packages, the children's environment) is only noted.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import psutil

from ffprof.errors import UsageError
from ffprof.instruments.nvml.device import read_system
from ffprof.instruments.nvml.library import Library, NvmlError
from ffprof.records.audit import Device, Machine
from ffprof.records.recipe import Recipe

_ROOT = Path(__file__).resolve().parents[2]
_MEASURING = ("ffprof", "workloads", "hw_profiles", "pyproject.toml")
_DISTRIBUTIONS = ("ffprof", "torch", "torchvision", "numpy", "nvidia-ml-py")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What torch says about the devices, from inside a child."""

    cuda: bool
    reason: str = ""
    gpu: str | None = None
    gpu_uuid: str | None = None
    gpu_total_bytes: int | None = None
    capability: tuple[int, int] | None = None
    versions: dict[str, str] = field(default_factory=dict)


def probe() -> Probe:
    """Ask torch; call it in a child only, because it may create a CUDA context."""
    import torch

    versions = {"torch build": str(torch.__version__), "cuda build": str(torch.version.cuda)}
    if not torch.cuda.is_available():
        reason = "torch finds no CUDA device"
        return Probe(cuda=False, reason=reason, versions=versions)
    properties = torch.cuda.get_device_properties(0)
    versions["cudnn"] = str(torch.backends.cudnn.version())
    return Probe(
        cuda=True,
        gpu=properties.name,
        gpu_uuid=gpu_uuid(),
        gpu_total_bytes=torch.cuda.mem_get_info(0)[1],
        capability=torch.cuda.get_device_capability(0),
        versions=versions,
    )


def gpu_uuid() -> str:
    """The UUID of CUDA's first device, as NVML spells it; call it in a child only."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(0).uuid}"


def usable_cpus() -> int:
    """Physical cores that this process may run on, at least 1."""
    physical = psutil.cpu_count(logical=False)
    known = [count for count in (_processors(), physical) if count]
    return min(known) if known else 1


def describe_machine(found: Probe, wanted: dict[str, str | None]) -> Machine:
    """The fingerprint for the record; ``wanted`` is the environment set for children."""
    versions = {"python": platform.python_version(), **found.versions}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return Machine(
        platform=platform.platform(),
        cpu=_cpu_name(),
        cpu_count=psutil.cpu_count() or 1,
        ram_bytes=psutil.virtual_memory().total,
        gpu=found.gpu,
        gpu_uuid=found.gpu_uuid,
        gpu_total_bytes=found.gpu_total_bytes,
        driver=_driver(),
        versions=versions,
        environment={name: "(removed)" if v is None else v for name, v in wanted.items()},
        commit=_commit(),
    )


def resolve_threads(recipe: Recipe) -> Recipe:
    """The recipe with its thread count made explicit."""
    if recipe.threads is not None:
        return recipe
    return recipe.model_copy(update={"threads": usable_cpus()})


def _processors() -> int | None:
    """Logical processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def check_threads(recipe: Recipe) -> None:
    """More threads than processors spin against each other and measure nothing.

    Raises:
        UsageError: there are more.
    """
    present = too_few_processors(recipe)
    if present:
        raise UsageError(
            f"--threads {recipe.threads} is more than the {present} processors of this machine",
            f"use at most {present}",
        )


def too_few_processors(recipe: Recipe) -> int | None:
    """How many processors this machine has, if the recipe has more threads; otherwise None."""
    present = _processors()
    return present if recipe.threads and present and recipe.threads > present else None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _driver() -> str | None:
    try:
        with Library() as library:
            return read_system(library).driver
    except NvmlError:
        return None


def _commit() -> str | None:
    """The commit of ffprof's source; None outside a checkout.

    A ``+`` says that code which takes part in measuring has been changed since.
    """
    root = _ROOT
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return (
            f"{commit[:12]}+"
            if _git(root, "status", "--porcelain", "--", *_MEASURING)
            else commit[:12]
        )
    except (OSError, subprocess.SubprocessError):
        return None


def same_measuring_code(one: str | None, other: str | None) -> bool:
    """Whether two commits, as recorded, hold the same code as far as it takes part in measuring.

    Commits that differ in documents or tests only do. What git cannot tell is not the same.
    """
    if one == other:
        return True
    if not one or not other or one.endswith("+") or other.endswith("+"):
        return False
    try:
        _git(_ROOT, "diff", "--quiet", one, other, "--", *_MEASURING)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _git(root: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


# Machines of one size differ a little in what the kernel leaves of it.
SAME_RAM = 0.1
_DECISIVE_VERSIONS = ("ffprof", "torch", "torch build", "cuda build", "python")


_CUDA_VERSIONS = ("cudnn",)


def fingerprint(machine: Machine, device: Device) -> dict[str, str]:
    """What decides figures on ``device`` and is either equal or not, by name.

    Without the size of memory, of which the kernel takes more or less, and without the commit.
    """
    told: dict[str, object] = {"cpu": machine.cpu, "cpu count": machine.cpu_count}
    names = [*_DECISIVE_VERSIONS]
    if device == "cuda":
        told |= {"gpu uuid": machine.gpu_uuid, "driver": machine.driver}
        names += _CUDA_VERSIONS
    told |= {name: machine.versions.get(name) for name in names}
    return {name: _told(value) for name, value in told.items()}


@dataclass(frozen=True, kw_only=True)
class Sameness:
    """Differences in words: those that forbid to go on, and those to be noted."""

    hardware: tuple[str, ...] = ()
    software: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()


def compare_machines(begun: Machine, here: Machine, device: Device) -> Sameness:
    """How the machine of a record differs from the present one, for an audit on ``device``."""
    hardware = [
        _differs("cpu", begun.cpu, here.cpu),
        _differs("cpu count", begun.cpu_count, here.cpu_count),
        _ram(begun.ram_bytes, here.ram_bytes),
    ]
    versions = list(_DECISIVE_VERSIONS)
    software = []
    if device == "cuda":
        hardware.append(_differs("gpu uuid", begun.gpu_uuid, here.gpu_uuid))
        software.append(_differs("driver", begun.driver, here.driver))
        versions += _CUDA_VERSIONS
    software += [
        _differs(name, begun.versions.get(name), here.versions.get(name)) for name in versions
    ]
    if not same_measuring_code(begun.commit, here.commit):
        software.append(_differs("commit of the measuring code", begun.commit, here.commit))
    others = sorted((begun.versions.keys() | here.versions.keys()) - {*versions, *_CUDA_VERSIONS})
    noted = [_differs("platform", begun.platform, here.platform)]
    noted += [_differs(name, begun.versions.get(name), here.versions.get(name)) for name in others]
    names = sorted(begun.environment.keys() | here.environment.keys())
    noted += [
        _differs(name, begun.environment.get(name), here.environment.get(name)) for name in names
    ]
    if begun.commit and begun.commit.endswith("+"):
        noted.append("the measuring code has changes that are in no commit and cannot be compared")
    return Sameness(
        hardware=tuple(filter(None, hardware)),
        software=tuple(filter(None, software)),
        noted=tuple(filter(None, noted)),
    )


def _differs(name: str, begun: object, here: object) -> str:
    return "" if begun == here else f"{name} is {_told(here)} and was {_told(begun)}"


def _told(value: object) -> str:
    return "none" if value is None else str(value)


def _ram(begun: int, here: int) -> str:
    if abs(begun - here) <= SAME_RAM * max(begun, here):
        return ""
    return f"RAM is {here / 2**30:.1f} GiB and was {begun / 2**30:.1f} GiB"
