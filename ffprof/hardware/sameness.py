"""Is this the machine that an audit was begun on? Trials of one table must be comparable.

What decides a figure must be equal: processor, memory class, the versions of ffprof and of torch
with its build, Python, the measuring code, and for CUDA the GPU itself, its driver and cuDNN.
What hardly does (the kernel, other packages, the children's environment) is only noted.
"""

from __future__ import annotations

from dataclasses import dataclass

from ffprof.hardware.machine import same_measuring_code
from ffprof.records.audit import Device, Machine

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
